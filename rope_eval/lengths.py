"""Lengths in tokens: as typed (``4096``, ``4k``, ``1m``), and what a list of them must be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rope_eval.errors import SpecError

_LENGTH = re.compile(r"([0-9]{1,12})([km]?)", re.IGNORECASE)
_COUNT = re.compile("[0-9]{1,18}")
_MOST = 10**18
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


def parse_lengths(text: str) -> tuple[int, ...]:
    """Return a comma-separated list of lengths in tokens.

    Raises:
        SpecError: an element is no length, or the list is none of `check_lengths`.

    >>> parse_lengths("4k,8k,16k")
    (4096, 8192, 16384)
    """
    return check_lengths([parse_length(part) for part in text.split(",")])


def check_count(name: str, value: Any) -> int | None:
    """Return a whole number of 1 or more, given as one or as text; None stays None.

    Args:
        name: what it is called.
        value: what was given.

    Raises:
        SpecError: for anything else.

    >>> check_count("chunk_size", "512")
    512
    """
    if isinstance(value, str) and _COUNT.fullmatch(value):
        value = int(value)
    if value is not None and (type(value) is not int or not 1 <= value <= _MOST):
        raise SpecError(f"{name} must be a whole number of 1 or more, got {value!r}")
    return value


def check_lengths(lengths: Sequence[Any]) -> tuple[int, ...]:
    """Return the lengths as increasing whole numbers of at least 2.

    The first token of a text has no score, so a length of 1 has none.

    Raises:
        SpecError: for no length, one that is none, or a list that does not increase.
    """
    if not lengths:
        raise SpecError("lengths is empty: give at least one, as in lengths=[1024,2048]")
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int) or length < 2:
            raise SpecError(f"lengths must be whole numbers of 2 or more tokens, got {length!r}")
    for shorter, longer in pairwise(lengths):
        if shorter >= longer:
            raise SpecError(
                f"lengths must increase and not repeat: {longer} comes after {shorter} in "
                f"{list(lengths)}; sort them, each once"
            )
    return tuple(lengths)
