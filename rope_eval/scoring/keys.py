"""The keys and values of one decoder layer at a time, of all tokens of a text so far.

Shape letters: M key-value heads, Q tokens of a chunk, H head_dim.
"""

from __future__ import annotations

from torch import Tensor

from rope_eval.backends.hf.attention import RopeAttention
from rope_eval.backends.hf.layer_attention import LayerAttention


class Keys:
    """The cache of one decoder layer's attention: a text's keys and values, buffers used again."""

    def __init__(self, attention: RopeAttention, length: int):
        self.attention, self.length = attention, length
        self._of_layer = {
            number: layer for layer in attention.layers if (number := layer.number) is not None
        }
        self._buffers: list[_LayerKeys] = []
        self._used: dict[int, _LayerKeys] = {}

    def next_block(self) -> None:
        """Begin the next decoder layer; what another may attend with is kept."""
        if not self.attention.anatomy.shares_keys:
            self._used = {}

    def finish(self) -> None:
        """End the last decoder layer."""

    def update(self, number: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """Take a chunk's keys and values of an attention layer; return all that it has seen."""
        layer = self._of_layer.get(number)
        if layer is None:
            return None
        if number not in self._used:
            place = len(self._used)
            if place == len(self._buffers):
                self._buffers.append(_LayerKeys(self.length))
            self._used[number] = self._buffers[place]
            self._used[number].begin(layer)
        return self._used[number].update(key, value)


class _LayerKeys:
    """One layer's keys and values: keys are rotated once an octave, not once a chunk."""

    def __init__(self, length: int):
        self.length = length
        self._rooms: dict[str, Tensor] = {}

    def begin(self, layer: LayerAttention) -> None:
        """Begin a layer."""
        self.layer = layer
        self.per_query = layer.keys_are_rotated and layer.rotary.base_changes == "per_query"
        self.filled = 0
        self.alpha = 0.0

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take a chunk's keys and values ``[1, M, Q, H]``; return all so far, keys rotated."""
        keys, values = self._room("keys", key), self._room("values", value)
        start, stop = self.filled, self.filled + key.shape[2]
        values[:, :, start:stop] = value
        rotary, layout = self.layer.rotary, self.layer.layer.layout
        if self.layer.keys_are_rotated and layout is not None:
            alpha = rotary.alpha(start + 1 if self.per_query else self.length)
            if self.per_query:
                unrotated = self._room("unrotated", key)
                unrotated[:, :, start:stop] = key
                if alpha != self.alpha:
                    start, key = 0, unrotated[:, :, :stop]
            cos, sin = rotary.table(alpha, stop, key.device)
            layout.turn_to(keys[:, :, start:stop], key, cos[start:stop], sin[start:stop])
            self.alpha = alpha
        else:
            keys[:, :, start:stop] = key
        self.filled = stop
        return keys[:, :, :stop], values[:, :, :stop]

    def _room(self, name: str, x: Tensor) -> Tensor:
        """Return room for a whole text of what x ``[1, M, Q, H]`` is a chunk of."""
        shape = (*x.shape[:2], self.length, x.shape[3])
        kept = self._rooms.get(name)
        if kept is None or (kept.shape, kept.dtype, kept.device) != (shape, x.dtype, x.device):
            kept = self._rooms[name] = x.new_empty(shape)
        return kept
