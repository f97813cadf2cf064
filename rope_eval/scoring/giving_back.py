"""Freed memory that goes back to the system at once, where a budget is to be kept."""

from __future__ import annotations

import ctypes
import platform

LARGE = 1 << 22  # bytes
_MMAP_THRESHOLD = -3  # of mallopt(3)


def give_back_large() -> bool:
    """Have glibc map each block of `LARGE` bytes or more by itself, for the rest of the process.

    Else it raises that border to the largest block that was freed, up to 32 MiB, and keeps what is
    freed below it: of scoring 16,384 tokens, more than half again of what was held. New pages
    take time: a tenth, in little models. Does nothing with another library of C.

    Returns:
        Whether it was done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)
    return bool(libc.mallopt(_MMAP_THRESHOLD, LARGE))
