"""A step of decoding, one query in every row: planned once a forward pass, in Python's numbers.

Shape letters: B batch, K keys, H head_dim, F pairs. A *slot* is a place among the keys that a layer
attends to, padding included; a *position* is a token's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from rope_eval.backends.hf.layers import Pattern
from rope_eval.rope.rotary import Rotary, rotate_pairs

AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}  # numbers of keys: what stays in a core's own cache
_ANYWHERE = 1 << 40  # past every slot and position


@dataclass(frozen=True, slots=True)
class Turn:
    """What the keys of a row are turned by.

    Attributes:
        first: the position of the first slot; below 0 where the row begins with padding.
        alpha: the factor on the base; 0 where they stay as they came.
        centre: that of what scales pairs.
        far: the position before which keys are turned by the last of a position map's `k_maps`.
    """

    first: int
    alpha: float
    centre: int = 0
    far: int = 0

    def after(self, slots: int) -> Turn:
        """Return that of the row from a later slot on."""
        if not slots or not self.alpha:
            return self
        return Turn(self.first + slots, self.alpha, self.centre, self.far)

    def stale(self, before: Turn, turned: int) -> list[tuple[int, int]]:
        """Return which slots are turned otherwise than before, of those that were, and the others.

        Args:
            before: what the first ones are turned by.
            turned: so many of them.
        """
        if before == self:
            return [(turned, _ANYWHERE)]
        if replace(before, far=self.far) != self:
            return [(0, _ANYWHERE)]
        moved = sorted((before.far - self.first, self.far - self.first))
        return [(moved[0], min(moved[1], turned)), (turned, _ANYWHERE)]


STILL = Turn(first=0, alpha=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One query a row, and the keys before it.

    Attributes:
        rotary: the numbers that they turn by.
        turns: of each row, or one for all.
        anew: whether no other step turns by them, so that no copy of the keys turned is worth
            keeping.
        first_slot: the first that any row sees.
        mask: added to the scores of the slots from there on, float32 ``[B, 1, 1, K]``; None where
            all rows see all of them.
        segments: of the slots from there on: where each starts and stops, and which of its R
            queries it meets, of each row or one for all.
        q_table: cos + i·sin of the queries, complex64 ``[B or 1, 1, R, F]``, times what scales
            pairs.
        k_table: that of their own keys, complex64 ``[B or 1, 1, 1, F]``, likewise.
        q_scale: float32 ``[B or 1, 1, 1, H]`` or None.
    """

    rotary: Rotary
    turns: tuple[Turn, ...]
    anew: bool
    first_slot: int
    mask: Tensor | None
    segments: tuple[tuple[int, int, tuple[int, ...]], ...]
    q_table: Tensor
    k_table: Tensor
    q_scale: Tensor | None
    _made: dict[tuple[Turn, int, int], Tensor] = field(default_factory=dict)
    _once: list[Tensor] = field(default_factory=list)

    @property
    def kept(self) -> tuple[Turn, ...]:
        """What the keys that stay between steps are turned by, of each row or one for all."""
        return (STILL,) if self.anew else self.turns

    @property
    def kept_table(self) -> Tensor | None:
        """What their own keys are turned by where they stay; None where it is nothing."""
        return None if self.anew else self.k_table

    def keys_table(self, turn: Turn, start: int, stop: int) -> Tensor:
        """Return cos + i·sin of a row's keys in some slots, times what scales their pairs.

        Args:
            turn: the row's, whose first slot this counts from.
            start: the first slot.
            stop: one past the last.

        Returns:
            complex64 ``[stop - start, F]``.
        """
        asked = (turn, start, stop)
        if asked not in self._made:
            self._made[asked] = self._keys_table(turn, turn.first + start, turn.first + stop)
        return self._made[asked]

    def _keys_table(self, turn: Turn, first: int, last: int) -> Tensor:
        rotary, device = self.rotary, self.q_table.device
        if rotary.position_map is not None:
            s = torch.arange(first, last, device=device, dtype=torch.float64).clamp(min=0)
            near, far = rotary.position_map.k_maps[0], rotary.position_map.k_maps[-1]
            s = near(s) if first >= turn.far else far(s).where(s < turn.far, near(s))
            return torch.complex(*rotary.table_at(turn.alpha, s))
        if _is_used_once(rotary):
            table = rotary.run(turn.alpha, first, last, device)
        else:
            table = torch.complex(*(x[first:last] for x in rotary.table(turn.alpha, last, device)))
        if not rotary.scales_pairs:
            return table
        return table * rotary.pair_scale(turn.centre - torch.arange(first, last, device=device))

    def meetings(self, query: Tensor, kept: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the keys that any row sees in blocks, each with the queries that it meets.

        Args:
            query: ``[B, N, R, H]``.
            kept: ``[B, M, K, H]``, turned as `kept` says.

        Yields:
            ``[B, N, 1, H]`` and ``[B, M, k, H]``, the latter at least float32 and used up before
            the next is asked for.
        """
        for start, stop, chosen in self.segments:
            if len(set(chosen)) == 1:
                met = query[:, :, chosen[0] : chosen[0] + 1]
            else:
                met = query[range(len(chosen)), :, chosen][:, :, None]
            for block in self._blocks(kept, start, stop):
                yield met, block

    def _blocks(self, kept: Tensor, start: int, stop: int) -> Iterator[Tensor]:
        B, M, _, H = kept.shape
        precise = torch.promote_types(kept.dtype, torch.float32)
        if kept.dtype == precise and not self.anew:
            yield kept[:, :, start:stop]
            return
        size = AT_ONCE.get(kept.device.type, AT_ONCE["cuda"]) // (B * M * H)
        size = min(max(size, 1), stop - start)
        scratch = kept.new_empty(B, M, size, H, dtype=precise)
        for begun in range(start, stop, size):
            ended = min(begun + size, stop)
            part, out = kept[:, :, begun:ended], scratch[:, :, : ended - begun]
            if self.anew:
                some = slice(begun - self.first_slot, ended - self.first_slot)
                rotate_pairs(out, part, self._table_once()[:, :, some])
            else:
                out.copy_(part)
            yield out

    def _table_once(self) -> Tensor:
        """Return what the keys turn by that no other step turns so, all that any row sees."""
        if not self._once:
            stop = self.segments[-1][1]
            rows = [
                self._keys_table(turn, turn.first + self.first_slot, turn.first + stop)
                for turn in self.turns
            ]
            self._once.append(torch.stack(rows)[:, None])
        return self._once[0]


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
        anew=_is_used_once(rotary) and whole is None,
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
        block = int(min(rotary.longest_block, _ANYWHERE))
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
    once = _is_used_once(rotary)
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


def _is_used_once(rotary: Rotary) -> bool:
    """Whether every length has a base of its own, so that no table of one is worth keeping."""
    return rotary.schedule is not None and rotary.schedule.tables == 1
