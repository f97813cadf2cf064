"""Room for copies that grow with a text, of which one is needed at a time.

A copy made anew for each chunk is a little longer than the last, so that no freed one is of use
again, and what an allocator keeps of them comes to several. Shape letters: B batch, M key-value
heads, K keys, H head_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Memory that is taken once for the longest copy, and lent again and again.

    Args:
        length: the keys of the longest.
    """

    def __init__(self, length: int):
        self.length = length
        self._rooms: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """Return an empty contiguous tensor shaped as x ``[B, M, K, H]``.

        It lies over what was returned before, where that was of the same device and dtype.
        """
        of = (x.device, x.dtype)
        room = self._rooms.get(of)
        if room is None or len(room) < x.numel():
            longest = max(self.length, x.shape[2])
            room = self._rooms[of] = x.new_empty(x.numel() // x.shape[2] * longest)
        return room[: x.numel()].view(x.shape)
