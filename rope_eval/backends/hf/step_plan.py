"""How a step of decoding is planned, from its positions: once a forward pass, in Python's numbers.

Letters and words are those of `rope_eval.backends.hf.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rope_eval.backends.hf.layers import Pattern
from rope_eval.backends.hf.steps import ANYWHERE, Step, Turn, is_used_once
from rope_eval.rope.rotary import Rotary


def step(
    rotary: Rotary,
    pattern: Pattern,
    position_ids: Tensor,
    places: Tensor | None,
    lengths: Tensor | None,
    B: int,
    K: int,
) -> Step | None:
    """Return how one query a row attends to K keys, its own the last.

    Args:
        rotary: the numbers to compute with.
        pattern: which keys a query sees.
        position_ids: of the queries, int64 ``[B or 1, 1]``.
        places: of the keys, as `spans` takes them.
        lengths: of each row's whole sequence, likewise.
        B: rows.
        K: keys.

    Returns:
        The step; None where a row is no run of tokens up to the last slot, or a position map is to
        count from elsewhere than 0: `spans` and `pieces` know more.
    """
    last = _positions(position_ids, places, K)
    if last is None or (rotary.position_map is not None and places is None and max(last) >= K):
        return None
    whole = None if lengths is None else [int(n) for n in lengths.tolist()]
    if len(set(last)) > 1 or (whole is not None and len(set(whole)) > 1):
        last = last if len(last) == B else last * B
        whole = whole and [whole[row * len(whole) // B] for row in range(B)]
    else:
        last = last[:1]
    turns = tuple(_turn(rotary, t, whole[row] if whole else t + 1, K) for row, t in enumerate(last))
    firsts = [_first_slot(pattern, t, K) for t in last]
    if pattern.chunk is not None and min(firsts) < 0:
        return None
    first = max(min(firsts), 0)
    device = position_ids.device
    mask = None
    if max(firsts) > first:
        seen = torch.arange(first, K, device=device) >= torch.tensor(firsts, device=device)[:, None]
        mask = torch.zeros(seen.shape, device=device).masked_fill(~seen, -torch.inf)[:, None, None]
    q_table, k_table = _own_tables(rotary, turns, last, device)
    q_scale = None
    if rotary.scales_queries:
        q_scale = rotary.query_scale(torch.tensor(last, device=device))[:, None, None]
    if len(set(turns)) == 1:
        turns = turns[:1]
    return Step(
        rotary=rotary,
        turns=turns,
        anew=is_used_once(rotary) and whole is None,
        first_slot=first,
        mask=mask,
        segments=_segments(rotary, last, first, K),
        q_table=q_table,
        k_table=k_table,
        q_scale=q_scale,
    )


def _positions(position_ids: Tensor, places: Tensor | None, K: int) -> list[int] | None:
    """Return the positions of the queries, if each row is a run of tokens up to the last slot."""
    if places is None:
        given: list[int] = position_ids[:, 0].tolist()
        return given if min(given) >= K - 1 else None
    counted: list[int] = places[:, -1].tolist()
    if min(counted) < 1:
        return None
    slots = torch.tensor([[max(K - n, 0)] for n in counted], device=places.device)
    begun = places.gather(1, slots)[:, 0].tolist()
    if any(place != max(n - K, 0) + 1 for place, n in zip(begun, counted, strict=True)):
        return None
    return [n - 1 for n in counted]


def _turn(rotary: Rotary, t: int, whole: int, K: int) -> Turn:
    alpha, centre = 1.0, 0
    if rotary.base_changes != "never":
        alpha = rotary.alpha(t + 1 if rotary.base_changes == "per_query" else whole)
    if rotary.scales_pairs:  # on a grid, so that it changes once a block
        block = int(min(rotary.longest_block, ANYWHERE))
        centre = t // block * block + block // 2
    far = 0
    if rotary.position_map is not None:
        far = max((r.keys[1] for r in rotary.position_map.regions(t, t + 1) if r.k_map), default=0)
    return Turn(first=t - (K - 1), alpha=alpha, centre=centre, far=far)


def _first_slot(pattern: Pattern, t: int, K: int) -> int:
    """Return the first slot that the query at t sees, which is in the last of K slots."""
    begins = K - 1 - t
    if pattern.window is not None:
        return max(begins, K - pattern.window)
    return begins + pattern.first_key(t)


def _segments(
    rotary: Rotary, last: Sequence[int], first: int, K: int
) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
    """Cut the slots from a first one on where any row meets another of a map's queries."""
    if rotary.position_map is None:
        return ((first, K, (0,)),)
    rows = [
        [
            (max(K - 1 - t + region.keys[0], first), K - 1 - t + region.keys[1], region.q_map)
            for region in rotary.position_map.regions(t, t + 1)
        ]
        for t in last
    ]
    cuts = sorted({first, K, *(start for row in rows for start, _, _ in row)})
    return tuple(
        (
            start,
            stop,
            tuple(next((q for a, b, q in row if a <= start < b), 0) for row in rows),
        )
        for start, stop in pairwise(cuts)
    )


def _own_tables(
    rotary: Rotary, turns: Sequence[Turn], last: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what queries, and their own keys, turn by."""
    if rotary.position_map is not None:
        maps = (*rotary.position_map.q_maps, rotary.position_map.k_maps[0])
        at = torch.tensor(last, dtype=torch.float64, device=device)[:, None]
        positions = torch.cat([some(at) for some in maps], dim=1)
        rows = [rotary.table_at(turn.alpha, p) for turn, p in zip(turns, positions, strict=True)]
        table = torch.stack([torch.complex(*row) for row in rows])[:, None]
        return table[:, :, :-1], table[:, :, -1:]
    once = is_used_once(rotary)
    rows = [
        rotary.table_at(turn.alpha, torch.tensor([t], dtype=torch.float64, device=device))
        if once
        else rotary.table(turn.alpha, t + 1, device)
        for turn, t in zip(turns, last, strict=True)
    ]
    table = torch.stack([torch.complex(cos[-1:], sin[-1:]) for cos, sin in rows])[:, None]
    if not rotary.scales_pairs:
        return table, table
    offsets = torch.tensor(
        [t - turn.centre for turn, t in zip(turns, last, strict=True)], device=device
    )
    q, k = (rotary.pair_scale(x)[:, None, None] for x in (offsets, -offsets))
    return table * q, table * k
