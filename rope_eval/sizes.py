"""Sizes of memory: as typed (``8GiB``, ``512MiB``), and as said to people."""

from __future__ import annotations

import math
import re

from rope_eval.errors import SpecError

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([KMGT]i?B)", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(value: object) -> int:
    """Return a size in bytes: KiB, MiB, GiB and TiB are powers of 1024, KB, MB, GB, TB of 1000.

    Raises:
        SpecError: for what has no unit, or is less than a byte.

    >>> parse_size("8GiB"), parse_size("1.5 MB")
    (8589934592, 1500000)
    """
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = 0
    if match is not None:
        unit = match[2].lower()
        size = int(float(match[1]) * (1024 if "i" in unit else 1000) ** _POWERS[unit[0]])
    if size < 1:
        raise SpecError(
            f"a size of memory is a number and a unit, such as 8GiB, 512MiB or 1.5GB; got {value!r}"
        )
    return size


def size_text(size: float) -> str:
    """Return a size as people read it, to three digits.

    >>> size_text(8589934592), size_text(1536), size_text(600), size_text(7.7e6)
    ('8 GiB', '1.5 KiB', '600 B', '7.34 MiB')
    """
    return _written(size, 3)


def told_apart(given: int, needed: int) -> tuple[str, str]:
    """Return a size that was given and one that is needed, to as many digits as tell them apart.

    What is needed is rounded up, so that it is enough when it is typed as it is said.

    >>> told_apart(2147483648, 2149000000), told_apart(2149000000, 2150000000)
    (('2 GiB', '2.01 GiB'), ('2.001 GiB', '2.003 GiB'))
    """
    for digits in range(3, 17):
        texts = _written(given, digits), _written(needed, digits, up=True)
        if texts[0] != texts[1]:
            break
    return texts


def _written(size: float, digits: int, *, up: bool = False) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = 0
    while size >= 1000 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    if up:
        places = digits - 1 - math.floor(math.log10(size))
        size = math.ceil(size * 10**places) / 10**places
    return f"{size:.{digits}g} {units[power]}"
