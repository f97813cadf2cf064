"""Which queries share a base, and what to rotate them and their keys with.

Shape letters: B batch, Q queries, K keys, H head_dim, F pairs. A *slot* is a place in the batch's
rows, padding included; a *position* is a token's own, counted from the row's first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_eval.backends.hf.layers import Pattern
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import Rotary

PACKED = (
    "position_ids must count up by one in each row: packed sequences are not supported; give each "
    "document a row of its own"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Queries that share one base (and one centre of what scales pairs), and their tables."""

    queries: slice  # slots among the queries
    keys: slice  # which keys they may see
    q_table: tuple[Tensor, Tensor]  # cos and sin, float32 [… Q F]
    k_table: tuple[Tensor, Tensor]
    q_scale: Tensor | None  # float32 [… Q H]
    q_pairs: Tensor | None  # float32 [… Q F]
    k_pairs: Tensor | None
    rows: Tensor | None = None  # a padded batch: which rows have such queries,
    chosen: Tensor | None = None  # which of their queries are such, bool [B 1 Q 1],
    mask: Tensor | None = None  # and what each may see, bool [B 1 Q K]


def spans(
    rotary: Rotary,
    pattern: Pattern,
    position_ids: Tensor,
    places: Tensor | None,
    lengths: Tensor | None,
    Q: int,
    K: int,
    chunk: tuple[int, int] | None = None,
) -> Iterator[Span]:
    """Yield the spans of one forward pass, the same for all its layers.

    Args:
        rotary: the numbers to compute with.
        pattern: which keys a query sees.
        position_ids: of the queries, int64 ``[B or 1, Q]``.
        places: of the keys, int64 ``[B, K]``, or None where nothing is padded: 1 + the position of
            a token, and where there is none 0 or less, the opposite of the last token's.
        lengths: of each row's whole sequence, int64 ``[B]``, for "per_sequence"; None where what
            has been seen is all.
        Q: queries.
        K: keys, the queries' own last.
        chunk: where they are tokens of one text: the first one's position and the text's length,
            so that no position is read back from a device.

    Raises:
        UnsupportedModelError: for positions that are not those of whole documents.
    """
    if places is None and chunk is not None:
        first, whole = chunk
        if first + Q < K:
            raise UnsupportedModelError(f"a text's token {first + Q} sees {K} keys")
        yield from _uniform(rotary, pattern, whole, first, Q, K, position_ids.device)
        return
    if places is None:
        q_positions = position_ids
        if Q > 1 and bool((q_positions.diff(dim=-1) != 1).any()):
            raise UnsupportedModelError(PACKED)
        k_positions = q_positions[:, -1:] - (K - 1) + torch.arange(K, device=q_positions.device)
        if bool((k_positions[:, 0] < 0).any()):
            raise UnsupportedModelError(
                f"position_ids end at {int(q_positions[:, -1].min())} but there are {K} keys: "
                "left-padded rows need an attention_mask"
            )
    else:
        real = places > 0
        packed = (position_ids.diff(dim=-1) != 1) & real[:, -Q:][:, 1:] & real[:, -Q:][:, :-1]
        if bool(packed.any()):
            raise UnsupportedModelError(PACKED)
        k_positions = (places.abs() - 1).clamp(min=0)
        q_positions = k_positions[:, -Q:]
    one_length = lengths is None or bool((lengths == lengths[0]).all())
    if places is None and one_length and bool((q_positions == q_positions[:1]).all()):
        first = int(q_positions[0, 0])
        whole = first + Q if lengths is None else int(lengths[0])
        yield from _uniform(rotary, pattern, whole, first, Q, K, q_positions.device)
    else:
        yield from _ragged(rotary, pattern, q_positions, k_positions, places, lengths)


def _uniform(
    rotary: Rotary,
    pattern: Pattern,
    whole: int,
    first: int,
    Q: int,
    K: int,
    device: torch.device,
) -> Iterator[Span]:
    """All rows alike: positions are first … first + Q − 1, and slices do."""
    first_key = first + Q - K
    if pattern.chunk is not None and first_key > pattern.first_key(first):
        raise UnsupportedModelError(
            f"position_ids begin at {first_key}, within {pattern}: a text's must count from 0"
        )
    start = 0
    while start < Q:
        per_query = rotary.base_changes == "per_query"
        alpha = rotary.alpha(first + start + 1 if per_query else whole)
        stop = int(
            min(
                Q,
                start + rotary.longest_block,
                rotary.alpha_end(first + start + 1) - first,
                pattern.end(first + start) - first,
            )
        )
        seen = max(first_key, pattern.first_key(first + start))
        positions = torch.arange(seen, first + stop, device=device)
        cos, sin = (x[seen:] for x in rotary.table(alpha, first + stop, device))
        own = slice(first + start - seen, None)
        yield _span(
            rotary,
            slice(start, stop),
            slice(seen - first_key, K - Q + stop),
            positions[own],
            positions,
            (cos[own], sin[own]),
            (cos, sin),
        )
        start = stop


def _ragged(
    rotary: Rotary,
    pattern: Pattern,
    q_positions: Tensor,
    k_positions: Tensor,
    places: Tensor | None,
    lengths: Tensor | None,
) -> Iterator[Span]:
    """Rows that differ: for each base, the rows and slots that have it, under a mask."""
    Q, K = q_positions.shape[1], k_positions.shape[1]
    device = q_positions.device
    real = places > 0 if places is not None else torch.ones_like(k_positions, dtype=torch.bool)
    B = max(len(real), len(q_positions), 1 if lengths is None else len(lengths))
    q_positions, k_positions, real = (x.expand(B, -1) for x in (q_positions, k_positions, real))
    length = int(k_positions.max()) + 1
    for alpha, chosen in _by_alpha(rotary, q_positions, k_positions, lengths).items():
        cos, sin = rotary.table(alpha, length, device)
        slots = chosen.any(0).nonzero()[:, 0]
        start, end = int(slots[0]), int(slots[-1]) + 1
        while start < end:
            stop = int(min(end, start + rotary.longest_block))
            queries, keys = slice(start, stop), K - Q + stop
            rows = chosen[:, queries].any(1).nonzero()[:, 0]
            slot = torch.arange(keys, device=device)
            seen = slot <= slot[keys - (stop - start) :, None]
            own = slot == slot[keys - (stop - start) :, None]  # no row of all False for padding
            if len(rows):
                q, k = q_positions[rows, queries], k_positions[rows, :keys]
                mask = real[rows, None, :keys] & seen
                if not pattern.is_full:
                    mask &= pattern.sees(q, k, slots=(slot[keys - (stop - start) :], slot))
                yield _span(
                    rotary,
                    queries,
                    slice(keys),
                    q,
                    k,
                    (cos[q], sin[q]),
                    (cos[k], sin[k]),
                    rows=rows,
                    chosen=chosen[rows, None, queries, None],
                    mask=(mask | own)[:, None],
                )
            start = stop


def _by_alpha(
    rotary: Rotary, q_positions: Tensor, k_positions: Tensor, lengths: Tensor | None
) -> dict[float, Tensor]:
    """Return, for each base in use, which queries have it: bool ``[B, Q]``."""
    if rotary.base_changes == "per_query":
        by_alpha: dict[float, Tensor] = {}
        t = q_positions + 1
        first, last = int(t.min()), int(t.max())
        while first <= last:
            end = rotary.alpha_end(first)
            chosen = (first <= t) & (t <= end)
            if bool(chosen.any()):
                by_alpha[rotary.alpha(first)] = chosen
            first = int(min(end, last)) + 1
        return by_alpha
    if rotary.base_changes == "per_sequence":
        if lengths is None:
            lengths = k_positions.amax(-1) + 1
        beams = len(q_positions) // len(lengths)
        alphas = [rotary.alpha(n) for n in lengths.repeat_interleave(beams).tolist()]
        of_row = torch.tensor(alphas, device=q_positions.device, dtype=torch.float64)
        return {a: (of_row == a)[:, None].expand_as(q_positions) for a in set(alphas)}
    return {1.0: torch.ones_like(q_positions, dtype=torch.bool)}


def _span(
    rotary: Rotary,
    queries: slice,
    keys: slice,
    q_positions: Tensor,
    k_positions: Tensor,
    q_table: tuple[Tensor, Tensor],
    k_table: tuple[Tensor, Tensor],
    **ragged: Tensor,
) -> Span:
    q_pairs = k_pairs = None
    if rotary.scales_pairs:
        centre = q_positions[..., q_positions.shape[-1] // 2, None]
        q_pairs = _heads(rotary.pair_scale(q_positions - centre))
        k_pairs = _heads(rotary.pair_scale(centre - k_positions))
    return Span(
        queries=queries,
        keys=keys,
        q_table=(_heads(q_table[0]), _heads(q_table[1])),
        k_table=(_heads(k_table[0]), _heads(k_table[1])),
        q_scale=_heads(rotary.query_scale(q_positions)) if rotary.scales_queries else None,
        q_pairs=q_pairs,
        k_pairs=k_pairs,
        **ragged,
    )


def _heads(table: Tensor) -> Tensor:
    """Put a dimension for the heads into ``[…, T, F]``."""
    return table.unsqueeze(-3)
