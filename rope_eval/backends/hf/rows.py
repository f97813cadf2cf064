"""Hidden states of a whole text, a slice of tokens at a time, wherever there is room for them."""

from __future__ import annotations

import math
import tempfile
import weakref
from typing import IO

import torch
from torch import Tensor

from rope_eval.errors import DataError

PLACES = ("device", "host", "disk")


class Rows:
    """A text's hidden states ``[…, T, D]``: ``rows[a:b]`` are those of the tokens a to b − 1.

    What is written there comes back bit for bit, on the device that it came from.

    Args:
        length: T.
        place: "device", where they are computed; "host", pinned memory beside a GPU; or "disk", a
            file without a name in the folder for temporary files (TMPDIR), gone with its process.
    """

    def __init__(self, length: int, place: str = "device"):
        self.length, self.place = length, place
        self.device = torch.device("cpu")
        self._like = torch.empty(0, 0)
        self._held: Tensor | None = None
        self._file: IO[bytes] | None = None

    def __setitem__(self, part: slice, x: Tensor) -> None:
        """Keep ``[…, part, D]``.

        Raises:
            DataError: where the disk is full.
        """
        if self._held is None and self._file is None:
            self._begin(x)
        if self._held is not None:
            self._held[..., part, :] = x
            return
        assert self._file is not None
        try:
            self._file.seek(part.start * self._token_bytes())
            self._file.write(_bytes(x.to(self._like).movedim(-2, 0).contiguous()))
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"the hidden states of {self.length} tokens "
                f"({self.length * self._token_bytes()} bytes) cannot be kept in "
                f"{tempfile.gettempdir()}: {error.strerror}; name a folder with room in TMPDIR"
            ) from error

    def __getitem__(self, part: slice) -> Tensor:
        """Return ``[…, part, D]``, which may be a view of what is kept."""
        start, stop, _ = part.indices(self.length)
        if self._held is not None:
            return self._held[..., start:stop, :].to(self.device)
        assert self._file is not None, "rows are read that were not written"
        like = self._like
        x = torch.empty((stop - start, *like.shape[:-2], like.shape[-1]), dtype=like.dtype)
        self._file.seek(start * self._token_bytes())
        self._file.readinto(_bytes(x))  # type: ignore[attr-defined]
        return x.movedim(0, -2).to(self.device)

    def _begin(self, x: Tensor) -> None:
        self.device = x.device
        self._like = torch.empty((*x.shape[:-2], 0, x.shape[-1]), dtype=x.dtype)
        shape = (*x.shape[:-2], self.length, x.shape[-1])
        if self.place == "disk":
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as we do)
            weakref.finalize(self, self._file.close)
        elif self.place == "host":
            self._held = torch.empty(shape, dtype=x.dtype, pin_memory=x.device.type == "cuda")
        else:
            self._held = x.new_empty(shape)

    def _token_bytes(self) -> int:
        like = self._like
        return math.prod(like.shape[:-2]) * like.shape[-1] * like.element_size()


def _bytes(x: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor."""
    return x.view(torch.uint8).numpy().data.cast("B")
