"""A field of a setting: its name and default, and how a value of it is read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rope_eval.errors import SpecError, did_you_mean

SHORTEST_LENGTH = 7  # the laws take the logarithm of length / 2π, which must be positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of `RopeSpec`.

    Attributes:
        name: as it is written.
        default: with which nothing changes.
        type: for signatures and readers.
        parse: takes the name and a value, as given or as text; returns it checked or raises a
            `SpecError`.
        says: what it is, in a line.
        live: two settings that differ in this field alone; a test sees the scores move.
        only_with: the fields one of which must be given too, where it means nothing without.
        per_pair: whether its value fits checkpoints of so many rotated pairs alone.
    """

    name: str
    default: Any
    type: Any
    parse: Callable[[str, object], object]
    says: str
    live: tuple[str, str]
    only_with: tuple[str, ...] = ()
    per_pair: bool = False


def number(*, above: float | None = None, least: float | None = None) -> Callable[..., float]:
    """Return a parser of finite numbers, greater than `above` or `least` and more."""
    wanted = f"greater than {above:g}" if above is not None else f"{least:g} or more"

    def parse(name: str, value: object) -> float:
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise TypeError
            found = float(value)
        except (TypeError, ValueError):
            raise SpecError(f"{name} must be a number {wanted}, got {value!r}") from None
        low = above if above is not None else least
        assert low is not None
        if not math.isfinite(found) or found < low or (above is not None and found == low):
            raise SpecError(f"{name} must be a finite number {wanted}, got {value}")
        return found

    return parse


def flag(name: str, value: object) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise SpecError(f"{name} must be true or false, got {value!r}")


def choice(*allowed: str) -> Callable[[str, object], object]:
    """Return a parser of one of the words."""

    def parse(name: str, value: object) -> object:
        if value not in allowed:
            hint = did_you_mean(str(value), allowed)
            raise SpecError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.{hint}")
        return value

    return parse


def length(name: str, value: object) -> int:
    """Return a whole number of tokens, long enough for the laws."""
    found = number(least=SHORTEST_LENGTH)(name, value)
    if found != int(found):
        raise SpecError(f"{name} must be a whole number of tokens, got {value}")
    return int(found)


def numbers(each: Callable[[str, object], float]) -> Callable[[str, object], tuple[float, ...]]:
    """Return a parser of lists: typed as 1:2:4, given as a list, or in a file as @factors.json.

    Args:
        each: the parser of one number.
    """

    def parse(name: str, value: object) -> tuple[float, ...]:
        value = _opened(name, value)
        if isinstance(value, str):
            value = value.split(":")
        if not isinstance(value, list | tuple) or not value:
            raise SpecError(
                f"{name} must be a list of numbers, 1:2:4 or @ and a file, got {value!r}"
            )
        return tuple(each(name, number) for number in value)

    return parse


def regimes(
    each: Callable[[str, object], float], names: tuple[str, str]
) -> Callable[[str, object], tuple[Any, ...]]:
    """Return a parser of one list, or of two for short and for long sequences: 1:2:4/3:5:7.

    Args:
        each: the parser of one number.
        names: what the two are called in a mapping.

    Returns:
        A tuple of numbers, or of two such tuples.
    """
    parse_one = numbers(each)

    def parse(name: str, value: object) -> tuple[Any, ...]:
        value = _opened(name, value)
        if isinstance(value, Mapping):
            if set(value) != set(names):
                raise SpecError(
                    f"{name} must have {' and '.join(names)}, got {', '.join(map(str, value))}"
                )
            value = [value[of] for of in names]
        if isinstance(value, str) and "/" in value:
            value = value.split("/")
        if not isinstance(value, list | tuple) or not any(
            isinstance(one, list | tuple) or ":" in str(one) for one in value
        ):
            return parse_one(name, value)
        lists = tuple(parse_one(name, one) for one in value)
        if len(lists) != 2 or len(lists[0]) != len(lists[1]):
            counts = " and ".join(str(len(one)) for one in lists)
            raise SpecError(f"{name} must be two lists of the same length, got {counts} numbers")
        return lists

    return parse


def _opened(name: str, value: object) -> object:
    """Return the content of a file that is given as @path: JSON, or numbers between spaces."""
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    path = Path(value[1:]).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{name}: cannot read {path}: {error}") from error
    try:
        return json.loads(text)
    except ValueError:
        return text.replace(",", " ").split()


def one_a_pair(name: str, values: Sequence[float], pairs: int) -> None:
    """Raise a `SpecError` where a list does not fit a checkpoint."""
    if len(values) != pairs:
        raise SpecError(
            f"{name} has {len(values)} numbers, and this checkpoint rotates {pairs} pairs of "
            "dimensions: give one number a pair"
        )


def written(value: object) -> str:
    """Return a field's value as it is typed."""
    if isinstance(value, tuple):
        between = "/" if isinstance(value[0], tuple) else ":"
        return between.join(map(_exact, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _exact(value: object) -> str:
    return written(value) if isinstance(value, tuple) else repr(value).removesuffix(".0")


def plain(value: object) -> Any:
    """Return a field's value as YAML and JSON hold it."""
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def optional(parse: Callable[[str, object], object]) -> Callable[[str, object], object]:
    """Return a parser that also takes None."""
    return lambda name, value: None if value is None else parse(name, value)
