"""A step of decoding: one query in every row, and the keys before it.

Shape letters: B batch, K keys, H head_dim, F pairs. A *slot* is a place among the keys that a layer
attends to, padding included; a *position* is a token's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rope_eval.rope.rotary import Rotary, rotate_pairs

AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}  # numbers of keys: what stays in a core's own cache
ANYWHERE = 1 << 40  # past every slot and position


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
            return [(turned, ANYWHERE)]
        if replace(before, far=self.far) != self:
            return [(0, ANYWHERE)]
        moved = sorted((before.far - self.first, self.far - self.first))
        return [(moved[0], min(moved[1], turned)), (turned, ANYWHERE)]


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
        if is_used_once(rotary):
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


def is_used_once(rotary: Rotary) -> bool:
    """Whether every length has a base of its own, so that no table of one is worth keeping."""
    return rotary.schedule is not None and rotary.schedule.tables == 1
