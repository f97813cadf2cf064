"""Layers of a cache with room to grow, and with a copy of their keys that stays turned.

A plain layer copies all its keys and values at every step. These write the new ones into room that
they have. What they hand out as keys is as it came, and carries the layer, so that the attention
that it reaches unchanged may ask for the keys turned: of these only the last are made anew, or the
rows whose turn is another. Shape letters: B batch, M key-value heads, K keys, H head_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from rope_eval.backends.hf.kernels import wants_gradients
from rope_eval.backends.hf.layers import Layout
from rope_eval.backends.hf.overrides import ATTRIBUTE
from rope_eval.backends.hf.steps import Step, Turn
from rope_eval.rope.rotary import Rotary, rotate_side_by_side, side_by_side

ROOM = 128  # slots beyond those in use
BLOCK = 512  # keys that are turned at a time


class _Roomy(CacheLayerMixin):
    """Keeps keys and values in a part of larger tensors, and keys turned in a third.

    Others may crop, reorder, change or put away what it holds: it looks whether they did.
    """

    keys: Any  # as a plain layer says: a tensor, or None before the first
    values: Any

    _rooms: tuple[Tensor, ...] = ()  # of keys and values, and of turned keys if they were asked for
    _views: tuple[Tensor, ...] = ()  # what this layer itself has put into `keys` and `values`
    _version = 0  # of the room of keys, when it did
    _first = 0  # slot of the rooms at which they begin
    _asked = 0  # and those that were handed out last
    _by: tuple[Rotary, Layout] | None = None  # what the turned keys are turned by,
    _turns: tuple[Turn, ...] = ()  # row by row, counted from the rooms' first slot,
    _turned = 0  # up to this slot of the rooms

    def _kept(self, count: int) -> int:
        """Return how many of so many keys a layer holds until the next step."""
        return count

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take keys and values ``[B, M, Q, H]``; return all of them."""
        count = self.keys.shape[-2] if self.is_initialized and self.keys.numel() else 0
        if not self._takes(count, key_states, value_states):
            self._let_go()
            found: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return found
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if count == 0 or not self._is_own():
            self._let_go()
        start = self._first + count
        stop = start + key_states.shape[2]
        if not self._rooms or self._rooms[0].shape[2] < stop:
            self._grow(key_states, value_states, count)
            start, stop = count, count + key_states.shape[2]
        for room, new in zip(self._rooms, (key_states, value_states), strict=False):
            room[:, :, start:stop] = new
        self._turned = min(self._turned, start)
        self._asked = self._first
        self._first = stop - self._kept(stop - self._first)
        self._hold(self._first, stop)
        keys, values = (room[:, :, self._asked : stop] for room in self._rooms[:2])
        setattr(keys, ATTRIBUTE, self)  # what is in `keys` carries nothing: no circle
        return keys, values

    def is_last(self, keys: Tensor) -> bool:
        """Whether keys are those that were handed out last, and nobody touched the layer since."""
        if not self._rooms or not self._is_own():
            return False
        return keys.shape[2] == self._first + self.keys.shape[2] - self._asked

    def turned(self, layout: Layout, step: Step) -> Tensor:
        """Return the keys that were handed out last as a step keeps them, pairs side by side."""
        keys, first = self._rooms[0], self._asked
        stop = self._first + self.keys.shape[2]
        if len(self._rooms) < 3 or self._rooms[2].shape != keys.shape:
            self._rooms = (*self._rooms[:2], _like(keys))
            self._turned = 0
        turns = tuple(turn.after(-first) for turn in step.kept)
        by = self._by is not None and self._by[0] is step.rotary and self._by[1] == layout
        if not by or len(turns) != len(self._turns):
            self._turned, self._turns = 0, turns
        self._by = None  # an interruption leaves nothing half turned
        for row, (turn, before) in enumerate(zip(turns, self._turns, strict=True)):
            rows = slice(None) if len(turns) == 1 else slice(row, row + 1)
            for start, end in turn.stale(before, self._turned):
                begun, ended = max(first, start), min(end, stop - 1)
                if begun < ended:
                    self._turn(layout, step, turn, rows, begun, ended)
        if self._turned < stop or turns != self._turns:
            self._write(layout, slice(None), slice(stop - 1, stop), step.kept_table)
        self._by, self._turns, self._turned = (step.rotary, layout), turns, stop
        return self._rooms[2][:, :, first:stop]

    def _turn(
        self, layout: Layout, step: Step, turn: Turn, rows: slice, start: int, stop: int
    ) -> None:
        padding = min(max(start, -turn.first), stop)
        self._rooms[2][rows, :, start:padding] = 0  # no query sees it, and it must be a number
        for begun in range(padding, stop, BLOCK):
            part = slice(begun, min(begun + BLOCK, stop))
            table = step.keys_table(turn, part.start, part.stop) if turn.alpha else None
            self._write(layout, rows, part, table)

    def _write(self, layout: Layout, rows: slice, part: slice, table: Tensor | None) -> None:
        """Put the keys of some slots into the third room, turned unless they are to stay still."""
        keys = layout.canonical(self._rooms[0][rows, :, part])
        if table is None:
            turned = side_by_side(keys, layout.pairs)
        else:
            turned = rotate_side_by_side(keys, table)
        self._rooms[2][rows, :, part] = turned

    # ---- room ----------------------------------------------------------------------------------

    def _takes(self, count: int, *new: Tensor) -> bool:
        """Whether what is new can stand beside what is held, in room of our own."""
        held = (self.keys, self.values) if count else new
        return not wants_gradients(*held, *new) and all(
            one.ndim == 4 == some.ndim
            and one.shape[:2] == some.shape[:2]
            and (one.shape[3], one.dtype, one.device) == (some.shape[3], some.dtype, some.device)
            for one, some in zip(held, new, strict=True)
        )

    def _is_own(self) -> bool:
        """Whether keys and values are what this layer has put there, and nobody changed them."""
        if not self._views or self._rooms[0].is_inference():
            return False
        held = self.keys is self._views[0] and self.values is self._views[1]
        return held and self._rooms[0]._version == self._version

    def _grow(self, key: Tensor, value: Tensor, count: int) -> None:
        """Make room for what comes and some more, and put into it what is held."""
        first, slots, turned = self._first, count + key.shape[2] + ROOM, self._rooms[2:]
        self._rooms = self._views = ()  # so that each is let go of as it is copied
        keys = _empty(key, slots)
        if count:
            keys[:, :, :count] = self.keys
        self.keys = keys
        values = _empty(value, slots)
        if count:
            values[:, :, :count] = self.values
        self.values = values
        self._rooms = (keys, values)
        self._first, self._turned = 0, max(self._turned - first, 0)
        self._turns = tuple(turn.after(first) for turn in self._turns)
        if turned:
            room = _like(keys)
            room[:, :, : self._turned] = turned[0][:, :, first : first + self._turned]
            self._rooms = (keys, values, room)

    def _hold(self, first: int, stop: int) -> None:
        self.keys, self.values = (room[:, :, first:stop] for room in self._rooms[:2])
        self._views, self._version = (self.keys, self.values), self._rooms[0]._version

    def _let_go(self) -> None:
        self._rooms, self._views, self._turns = (), (), ()
        self._first = self._turned = 0
        self._by = None

    # ---- what others do to it ------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything."""
        self._let_go()
        super().reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Have the rows that beams go on with."""
        self._choose(beam_idx, lambda: super(_Roomy, self).reorder_cache(beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Have some rows."""
        self._choose(indices, lambda: super(_Roomy, self).batch_select_indices(indices))

    def _choose(self, rows: Tensor, otherwise: Callable[[], None]) -> None:
        if not self._rooms or not self._is_own():
            otherwise()
            return
        count, first = self.keys.shape[2], self._first
        with torch.inference_mode(False), torch.no_grad():
            self._rooms = tuple(room[rows.to(room.device)] for room in self._rooms)
        if len(self._turns) > 1:
            chosen = torch.arange(len(self._turns))[rows.cpu()].tolist()
            self._turns = tuple(self._turns[row] for row in chosen)
        self._hold(first, first + count)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a plain layer is made of: a copy makes room of its own."""
        return {name: held for name, held in vars(self).items() if name not in _OURS}


_OURS = ("_rooms", "_views", "_version", "_first", "_asked", "_by", "_turns", "_turned")


class RoomyLayer(_Roomy, DynamicLayer):
    """Holds all keys."""

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, of which a negative number is given."""
        own = bool(self._rooms) and self._is_own()
        super().crop(tokens_to_remove)
        if own:
            stop = self._first + self.keys.shape[2]
            self._turned = min(self._turned, stop)
            self._hold(self._first, stop)


class RoomyWindow(_Roomy, DynamicSlidingWindowLayer):
    """Holds the keys that the next query's window reaches."""

    cumulative_length: int

    def _kept(self, count: int) -> int:
        return min(count, self.sliding_window - 1)

    def _takes(self, count: int, *new: Tensor) -> bool:
        return not self.record_past and self.sliding_window > 1 and super()._takes(count, *new)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take keys and values; return those that the windows of their queries reach."""
        before = self.cumulative_length
        found = super().update(key_states, value_states, *args, **kwargs)
        self.cumulative_length = before + key_states.shape[2]
        return found


_ROOMY: dict[type, type[_Roomy]] = {
    DynamicLayer: RoomyLayer,
    DynamicSlidingWindowLayer: RoomyWindow,
}


def room_of(keys: Tensor) -> _Roomy | None:
    """Return the layer that has handed out these very keys, and none since."""
    layer: _Roomy | None = getattr(keys, ATTRIBUTE, None)
    return layer if layer is not None and layer.is_last(keys) else None


def make_room(cache: Cache) -> None:
    """Have a cache's plain layers be such with room; other layers and caches stay as they are."""
    if type(cache) is not DynamicCache or cache.offloading:  # exactly: not what is made of it
        return
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = RoomyLayer
    for place, layer in enumerate(cache.layers):
        if (kind := _ROOMY.get(type(layer))) is not None:
            roomy = kind.__new__(kind)
            roomy.__dict__.update(vars(layer))
            cache.layers[place] = roomy


def _empty(x: Tensor, slots: int) -> Tensor:
    """Return room for so many slots of what x ``[B, M, Q, H]`` is a part of."""
    with torch.inference_mode(False):  # so that it can be written with and without that mode
        shape = (*x.shape[:2], slots, x.shape[3])
        return torch.empty(shape, dtype=x.dtype, device=x.device)


def _like(room: Tensor) -> Tensor:
    return _empty(room, room.shape[2])
