"""What the methods that map positions have in common."""

from __future__ import annotations

import math
from collections.abc import Callable

from rope_eval.errors import SpecError
from rope_eval.rope.facts import Setting
from rope_eval.rope.method import NotServed
from rope_eval.rope.values import number


def whole(least: int) -> Callable[[str, object], int]:
    """Return a parser of whole numbers, `least` and more."""

    def parse(name: str, value: object) -> int:
        found = number(least=least)(name, value)
        if found != int(found):
            raise SpecError(f"{name} must be a whole number, got {value}")
        return int(found)

    return parse


def checks(
    *fields: str, also: Callable[[Setting], None] = lambda spec: None
) -> Callable[[Setting], None]:
    """Return the check of a method by its fields, the first of which makes it a map.

    Args:
        fields: their names.
        also: what else to check where it is one.
    """

    def check(spec: Setting) -> None:
        first, *others = (getattr(spec, field) for field in fields)
        if first is None:
            for field, value in zip(fields[1:], others, strict=True):
                if value not in (None, 1):
                    raise SpecError(f"{field}={value:g} has no meaning without {fields[0]}=…")
            return
        named = f"{fields[0]}={first}"
        if spec.xpos:
            raise SpecError(
                f"{named} cannot be combined with xpos: it fades with t − s, and a position map "
                "has another distance; leave one out"
            )
        if spec.beyond_critical == "clip":
            raise SpecError(
                f"{named} cannot be combined with beyond_critical=clip: both map the positions; "
                "leave one out"
            )
        if spec.longrope_kept:
            raise SpecError(
                f"{named} cannot be combined with longrope_kept: that counts positions from the "
                "first token, and a map gives distances; leave one out"
            )
        also(spec)

    return check


def refused(field: str) -> Callable[[Setting], NotServed]:
    """Return what a serving engine cannot do of a method, named by its first field."""
    return lambda spec: NotServed(
        setting=f"{field}={getattr(spec, field)}",
        why="its cache keeps keys rotated once, and a position map turns them in several ways",
        instead="dynamic_ntk=per_sequence",
    )


def fitting_ratio(window: int, made_for: int, length: int) -> int:
    """Return by how much distances past a window must grow slower for a length to stay known.

    It is the least whole number k ≥ 2 with window + (length − window)/k ≤ made_for, all in tokens.
    """
    return max(2, math.ceil((length - window) / (made_for - window)))
