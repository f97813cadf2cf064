"""What all layers of a patched model know of the forward pass that they are in.

Shape letters: B batch, Q queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rope_eval.backends.hf.workspace import Workspace


class ForwardPass:
    """The positions of a forward pass, and where its keys are from.

    Attributes:
        lengths: for a base "per_sequence": the length of each row's whole sequence, where
            it is longer than what has been seen (generation, chunks), int64 ``[B]`` or None.
        positions: of the queries in this forward pass, int64 ``[B or 1, Q]``.
        chunk: the first of them and the length of the text, where that is known before.
        keys_are_rotated: the cache hands out rotated keys (the scorer's does).
        workspace: where keys are turned and scaled, all of a layer's before the next's; None
            where they become a tensor of their own.
    """

    def __init__(self) -> None:
        self.lengths: Tensor | None = None
        self.positions: Tensor | None = None
        self.chunk: tuple[int, int] | None = None
        self.keys_are_rotated = False
        self.workspace: Workspace | None = None
        self._elsewhere: dict[torch.device, Tensor] = {}

    def begin(self, positions: Tensor, chunk: tuple[int, int] | None = None) -> None:
        """Begin a forward pass (or a chunk) at these positions: of a text if they are several.

        Args:
            positions: int64 ``[B or 1, Q]``.
            chunk: where they are those of one text from its first token to their last: the first
                of them, and the length of the text. A device is then not waited for.
        """
        self.positions = positions[0] if positions.ndim == 3 else positions
        self.chunk = chunk
        self._elsewhere.clear()

    def positions_on(self, device: torch.device) -> Tensor:
        """Return the positions where a layer computes: those of a split model do so in turn."""
        assert self.positions is not None
        if self.positions.device == device:
            return self.positions
        if device not in self._elsewhere:
            self._elsewhere[device] = self.positions.to(device)
        return self._elsewhere[device]

    def forget(self) -> None:
        """Let go of the last forward pass: its tensors may be changed in place."""
        self.positions = self.chunk = None
        self._elsewhere.clear()
