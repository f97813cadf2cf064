"""Lengths as they are typed: ``4096``, ``4k``, ``1m``."""

from __future__ import annotations

import re
from itertools import pairwise

from rope_eval.errors import SpecError

_LENGTH = re.compile(r"([0-9]{1,12})([km]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2}


def parse_length(text: str) -> int:
    """Return a length in tokens; k = 1024 and m = 1024², in either case.

    Raises:
        SpecError: not a positive whole number with at most one of the suffixes.

    >>> parse_length("16k")
    16384
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise SpecError(
            f"a length is a positive whole number of tokens, such as 4096, 4k or 1m; got {text!r}"
        )
    return int(match[1]) * _UNITS[match[2].lower()]


def parse_lengths(text: str) -> list[int]:
    """Return a comma-separated list of lengths in tokens, each longer than the one before.

    Raises:
        SpecError: an element is no length, or the list is not strictly increasing.

    >>> parse_lengths("4k,8k,16k")
    [4096, 8192, 16384]
    """
    lengths = [parse_length(part) for part in text.split(",")]
    for shorter, longer in pairwise(lengths):
        if shorter >= longer:
            raise SpecError(
                f"lengths must increase: {longer} comes after {shorter} in {text!r}; "
                "sort them, each once"
            )
    return lengths
