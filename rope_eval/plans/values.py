"""Values of a plan that measurements share: lengths in tokens."""

from __future__ import annotations

from typing import Any

from rope_eval.errors import SpecError
from rope_eval.lengths import check_count, check_lengths, parse_length
from rope_eval.plans.document import Value


def length(value: Value) -> int:
    """Return a number of tokens, such as ``16k``."""
    return value.checked(lambda plain: check_lengths([_tokens(plain)])[0])


def tokens(value: Value) -> int:
    """Return a count of tokens of 1 or more, such as ``16k``."""
    return value.checked(lambda plain: check_count("a number of tokens", _tokens(plain)) or 0)


def lengths(value: Value) -> tuple[int, ...]:
    """Return a list of numbers of tokens, increasing."""
    return value.checked(_list)


def _list(plain: Any) -> tuple[int, ...]:
    if not isinstance(plain, list):
        raise SpecError(f"expected a list of lengths, such as [1k, 4k], got {plain!r:.60}")
    return check_lengths([_tokens(one) for one in plain])


def _tokens(plain: Any) -> Any:
    return parse_length(plain) if isinstance(plain, str) else plain
