"""A step of decoding, one query in every row: planned once a forward pass, in Python's numbers.

Shape letters: B batch, K keys, H head_dim, F pairs. A *slot* is a place among the keys that a layer
attends to, padding included; a *position* is a token's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rope_eval.backends.hf.layers import Pattern
from rope_eval.rope.rotary import Rotary

_ANYWHERE = 1 << 40  # the block of a setting whose blocks have no end


@dataclass(frozen=True, slots=True)
class Turn:
    """What the keys of a row are turned by.

    Attributes:
        first: the position of the first slot; below 0 where the row begins with padding.
        alpha: the factor on the base.
        centre: that of what scales pairs.
    """

    first: int
    alpha: float
    centre: int

    def after(self, slots: int) -> Turn:
        """Return that of the row from a later slot on."""
        return replace(self, first=self.first + slots)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One query a row, and the keys before it.

    Attributes:
        rotary: the numbers that they turn by.
        turns: of each row, or one for all.
        first_slot: the first that any row sees.
        mask: added to the scores of the slots from there on, float32 ``[B, 1, 1, K]``; None where
            all rows see all of them.
        q_table: cos and sin of the queries, float32 ``[B or 1, 1, 1, F]``, times what scales pairs.
        k_table: of their own keys, at the same positions, likewise.
        q_scale: float32 ``[B or 1, 1, 1, H]`` or None.
    """

    rotary: Rotary
    turns: tuple[Turn, ...]
    first_slot: int
    mask: Tensor | None
    q_table: tuple[Tensor, Tensor]
    k_table: tuple[Tensor, Tensor]
    q_scale: Tensor | None
    _made: dict[tuple[Turn, int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def keys_table(self, turn: Turn, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return cos and sin of a row's keys in some slots, times what scales their pairs.

        Args:
            turn: the row's, whose first slot this counts from.
            start: the first slot, no padding.
            stop: one past the last.
        """
        asked = (turn, start, stop)
        if asked not in self._made:
            self._made[asked] = self._keys_table(turn, turn.first + start, turn.first + stop)
        return self._made[asked]

    def _keys_table(self, turn: Turn, first: int, last: int) -> tuple[Tensor, Tensor]:
        rotary, device = self.rotary, self.q_table[0].device
        if _is_used_once(rotary):
            cos, sin = rotary.run(turn.alpha, first, last, device)
        else:
            cos, sin = (x[first:last] for x in rotary.table(turn.alpha, last, device))
        if not rotary.scales_pairs:
            return cos, sin
        scale = rotary.pair_scale(turn.centre - torch.arange(first, last, device=device))
        return cos * scale, sin * scale


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
        The step; None where a row is no run of tokens up to the last slot, or there is a map of
        positions: `spans` and `pieces` know more.
    """
    if rotary.position_map is not None and rotary.position_map.exact < K:
        return None
    last = _positions(position_ids, places, K)
    if last is None:
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
        first_slot=first,
        mask=mask,
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
        block = int(min(rotary.longest_block, _ANYWHERE))
        centre = t // block * block + block // 2
    return Turn(first=t - (K - 1), alpha=alpha, centre=centre)


def _first_slot(pattern: Pattern, t: int, K: int) -> int:
    """Return the first slot that the query at t sees, which is in the last of K slots."""
    begins = K - 1 - t
    if pattern.window is not None:
        return max(begins, K - pattern.window)
    return begins + pattern.first_key(t)


def _own_tables(
    rotary: Rotary, turns: Sequence[Turn], last: Sequence[int], device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    once = _is_used_once(rotary)
    rows = [
        rotary.table_at(turn.alpha, torch.tensor([t], dtype=torch.float64, device=device))
        if once
        else [x[t:] for x in rotary.table(turn.alpha, t + 1, device)]
        for turn, t in zip(turns, last, strict=True)
    ]
    cos, sin = (torch.cat(some)[:, None, None] for some in zip(*rows, strict=True))
    if not rotary.scales_pairs:
        return (cos, sin), (cos, sin)
    offsets = torch.tensor(
        [t - turn.centre for turn, t in zip(turns, last, strict=True)], device=device
    )
    q, k = (rotary.pair_scale(x)[:, None, None] for x in (offsets, -offsets))
    return (cos * q, sin * q), (cos * k, sin * k)


def _is_used_once(rotary: Rotary) -> bool:
    """Whether every length has a base of its own, so that no table of one is worth keeping."""
    return rotary.schedule is not None and rotary.schedule.tables == 1
