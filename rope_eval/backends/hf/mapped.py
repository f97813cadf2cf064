"""The pieces of a forward pass under a position map, and what to turn them with.

Each row of a padded batch is a piece of its own, from its first token, so no mask is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.position_maps import Region
from rope_eval.rope.rotary import Rotary

Tables = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Queries of one row (or of rows alike) that share a base, and the keys before them.

    Attributes:
        rows: of the batch.
        queries: their slots among the queries, a slice or int64 ``[Q]``.
        slots: those of the keys, int64 ``[K]``; None where they are the first.
        start: the position of the first query.
        stop: one past the last one's.
        q_tables: cos and sin of the queries by each of the map's `q_maps`, float32 ``[Q, F]``.
        k_tables: the same of the keys, by its `k_maps`.
        q_scale: float32 ``[Q, H]`` or None.
        regions: of each block; None where all meet by the first tables.
    """

    rows: slice
    queries: slice | Tensor
    slots: Tensor | None
    start: int
    stop: int
    q_tables: Tables
    k_tables: Tables
    q_scale: Tensor | None
    regions: list[list[Region]] | None


def pieces(
    rotary: Rotary,
    position_ids: Tensor,
    places: Tensor | None,
    lengths: Tensor | None,
    Q: int,
    K: int,
) -> Iterator[Piece]:
    """Yield the pieces of one forward pass; the arguments are those of `spans`.

    Raises:
        UnsupportedModelError: for positions that do not count from each row's first token.
    """
    device = position_ids.device
    whole = None if lengths is None else lengths.tolist()
    if places is None:
        expected = torch.arange(K - Q, K, device=device)
        if bool((position_ids != expected).any()):
            raise UnsupportedModelError(
                "a position map needs position_ids that count from 0 at each row's first token"
            )
        if whole is None or len(set(whole)) == 1:
            length = K if whole is None else whole[0]
            yield from _row(rotary, slice(None), slice(0, Q), None, Q, K, length, device)
            return
        rows = max(len(whole), len(position_ids))
        places = torch.arange(1, K + 1, device=device).expand(rows, -1)
    packed = (position_ids.diff(dim=-1) != 1) & (places[:, -Q:] > 0)[:, 1:]
    packed = packed & (places[:, -Q:] > 0)[:, :-1]
    if bool(packed.any()):
        raise UnsupportedModelError(
            "position_ids must count up by one in each row: packed sequences are not supported; "
            "give each document a row of its own"
        )
    for row, place in enumerate(places):
        slots = (place > 0).nonzero()[:, 0]
        queries = slots[slots >= K - Q] - (K - Q)
        if not len(queries):
            continue
        length = len(slots)
        if whole is not None:
            length = whole[row * len(whole) // len(places)]
        own = slice(row, row + 1)
        yield from _row(rotary, own, queries, slots, len(queries), len(slots), length, device)


def _row(
    rotary: Rotary,
    rows: slice,
    queries: slice | Tensor,
    slots: Tensor | None,
    Q: int,
    K: int,
    length: int,
    device: torch.device,
) -> Iterator[Piece]:
    """Cut Q queries at the end of K keys where the base changes, and where the map begins."""
    position_map = rotary.position_map
    assert position_map is not None
    first = start = K - Q
    while start < K:
        per_query = rotary.base_changes == "per_query"
        alpha = rotary.alpha(start + 1 if per_query else length)
        stop = int(min(K, rotary.alpha_end(start + 1)))
        if start < position_map.exact:
            stop = int(min(stop, position_map.exact))
        t = torch.arange(start, stop, device=device, dtype=torch.float64)
        s = torch.arange(stop, device=device, dtype=torch.float64)
        q_positions: tuple[Tensor, ...] = (t,)
        k_positions: tuple[Tensor, ...] = (s,)
        regions = None
        if start >= position_map.exact and stop - start == 1:
            q_positions, k_positions = (t * 0,), (-position_map.rel(t, s),)
        elif start >= position_map.exact:
            q_positions = tuple(q_map(t) for q_map in position_map.q_maps)
            k_positions = tuple(k_map(s) for k_map in position_map.k_maps)
            regions = list(position_map.blocks(start, stop))
        if isinstance(queries, Tensor):
            chosen: slice | Tensor = queries[start - first : stop - first]
        else:
            chosen = slice(start - first, stop - first)
        yield Piece(
            rows=rows,
            queries=chosen,
            slots=None if slots is None else slots[:stop],
            start=start,
            stop=stop,
            q_tables=tuple(rotary.table_at(alpha, p) for p in q_positions),
            k_tables=tuple(rotary.table_at(alpha, p) for p in k_positions),
            q_scale=rotary.query_scale(t.long()) if rotary.scales_queries else None,
            regions=regions,
        )
        start = stop
