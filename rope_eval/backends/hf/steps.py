"""A step of decoding, one query in every row: planned once a forward pass, in Python's numbers.

Shape letters: B batch, K keys, H head_dim, F pairs. A *slot* is a place among the keys that a layer
attends to, padding included; a *position* is a token's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

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
        return replace(self, first=self.first + slots) if self.alpha else self

    def stale(self, before: Turn, turned: int) -> list[tuple[int, int]]:
        """Return which slots are turned otherwise than before, of those that were, and the others.

        Args:
            before: what the first ones are turned by.
            turned: so many of them.
        """
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
        region: of the slots from there on: which of the R queries they meet, int64
            ``[B or 1, 1, 1, K]``; None where R is 1.
        q_table: cos and sin of the queries, float32 ``[B or 1, 1, R, F]``, times what scales pairs.
        k_table: cos + i·sin of their own keys, complex64 ``[B or 1, 1, 1, F]``, likewise.
        q_scale: float32 ``[B or 1, 1, 1, H]`` or None.
    """

    rotary: Rotary
    turns: tuple[Turn, ...]
    anew: bool
    first_slot: int
    mask: Tensor | None
    region: Tensor | None
    q_table: tuple[Tensor, Tensor]
    k_table: Tensor
    q_scale: Tensor | None
    _made: dict[tuple[Turn, int, int], Tensor] = field(default_factory=dict)

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
        rotary, device = self.rotary, self.q_table[0].device
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

    def keys(self, kept: Tensor) -> Iterator[Tensor]:
        """Yield keys as the queries meet them, in blocks, at least float32 where there are several.

        Args:
            kept: ``[B, M, K, H]``, from the first slot on that any row sees, turned as `kept` says.
        """
        B, M, K, H = kept.shape
        precise = torch.promote_types(kept.dtype, torch.float32)
        if kept.dtype == precise and not self.anew:
            yield kept
            return
        held = AT_ONCE.get(kept.device.type, AT_ONCE["cuda"]) // (B * M * H)
        scratch = kept.new_empty(B, M, min(max(held, 1), K), H, dtype=precise)
        for start in range(0, K, scratch.shape[2]):
            part = kept[:, :, start : start + scratch.shape[2]]
            out = scratch[:, :, : part.shape[2]]
            if self.anew:
                slots = self.first_slot + start, self.first_slot + start + part.shape[2]
                tables = [self.keys_table(turn, *slots) for turn in self.turns]
                rotate_pairs(out, part, torch.stack(tables)[:, None])
            else:
                out.copy_(part)
            yield out


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
    region = _regions(rotary, last, first, K, device)
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
        region=region,
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


def _regions(
    rotary: Rotary, last: Sequence[int], first: int, K: int, device: torch.device
) -> Tensor | None:
    """Return which of a map's queries the slots from a first one on meet."""
    if rotary.position_map is None:
        return None
    found = torch.zeros(len(last), 1, 1, K, dtype=torch.int64)
    for row, t in enumerate(last):
        begins = K - 1 - t
        for region in rotary.position_map.regions(t, t + 1):
            start, stop = (max(begins + s, 0) for s in region.keys)
            found[row, ..., start:stop] = region.q_map
    return found[..., first:].to(device)


def _own_tables(
    rotary: Rotary, turns: Sequence[Turn], last: Sequence[int], device: torch.device
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return what queries, and their own keys, turn by."""
    if rotary.position_map is not None:
        maps = (*rotary.position_map.q_maps, rotary.position_map.k_maps[0])
        at = torch.tensor(last, dtype=torch.float64, device=device)[:, None]
        positions = torch.cat([some(at) for some in maps], dim=1)
        rows = [rotary.table_at(turn.alpha, p) for turn, p in zip(turns, positions, strict=True)]
        cos, sin = (torch.stack(some)[:, None] for some in zip(*rows, strict=True))
        own = torch.complex(cos[:, :, -1:], sin[:, :, -1:])
        return (cos[:, :, :-1], sin[:, :, :-1]), own
    once = _is_used_once(rotary)
    rows = [
        rotary.table_at(turn.alpha, torch.tensor([t], dtype=torch.float64, device=device))
        if once
        else rotary.table(turn.alpha, t + 1, device)
        for turn, t in zip(turns, last, strict=True)
    ]
    cos, sin = (torch.stack([x[-1:] for x in some])[:, None] for some in zip(*rows, strict=True))
    own = torch.complex(cos, sin)
    if not rotary.scales_pairs:
        return (cos, sin), own
    offsets = torch.tensor(
        [t - turn.centre for turn, t in zip(turns, last, strict=True)], device=device
    )
    q, k = (rotary.pair_scale(x)[:, None, None] for x in (offsets, -offsets))
    return (cos * q, sin * q), own * k


def _is_used_once(rotary: Rotary) -> bool:
    """Whether every length has a base of its own, so that no table of one is worth keeping."""
    return rotary.schedule is not None and rotary.schedule.tables == 1
