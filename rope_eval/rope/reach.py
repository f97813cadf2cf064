"""Whether the texts of a run are long enough for a setting to change anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.terminal import remark


def without_effect(
    effective_from: Mapping[str, int | None],
    longest: int,
    what: str = "the longest text",
    stated: Collection[str] = (),
) -> str:
    """Return a line on the fields that change nothing, empty where each changes something.

    Args:
        effective_from: of each active field the shortest text, in tokens, of which it changes a
            score; None where it changes none on this checkpoint (`Rotary.effective_from`).
        longest: tokens of the longest text.
        what: it is.
        stated: fields that describe the checkpoint, so that they need not change it.
    """
    lines = []
    by_start: dict[int | None, list[str]] = {}
    for field, start in effective_from.items():
        if start is None and field in stated:
            continue
        if start is None or start > longest:
            by_start.setdefault(start, []).append(field)
    for start, fields in by_start.items():
        names, many = " and ".join(fields), len(fields) > 1
        changes = f"{names} change{'' if many else 's'} nothing"
        lines.append(
            f"{changes} on this checkpoint, at any length"
            if start is None
            else f"{changes} in {longest} tokens, {what}: {'they begin' if many else 'it begins'} "
            f"at {start}"
        )
    return "; ".join(lines)


class Reach:
    """Says, or refuses, what changes nothing.

    Args:
        effective_from: as for `without_effect`.
        strict: whether it is an error.
        stated: as for `without_effect`.
        say: takes a line for people, each once.

    Attributes:
        longest: by the kind of request, tokens of the longest text.
    """

    def __init__(
        self,
        effective_from: Mapping[str, int | None],
        *,
        strict: bool = False,
        stated: Collection[str] = (),
        say: Callable[[str], object] = lambda line: remark(f"note: {line}"),
    ) -> None:
        self.effective_from = dict(effective_from)
        self.strict = strict
        self.stated = stated
        self.longest: dict[str, int] = {}
        self._say = say
        self._said: set[str] = set()

    def expect(self, kind: str, length: int) -> None:
        """Take note of the longest text of a kind of request before it is run, and check it."""
        self.see(kind, length)
        self.check(kind)

    def see(self, kind: str, length: int) -> None:
        """Take note of a text's length."""
        self.longest[kind] = max(length, self.longest.get(kind, 0))

    def check(self, kind: str) -> None:
        """Say which fields no text of this kind was long enough for; strictly, a `SpecError`."""
        line = self._without_effect(kind)
        if line and self.strict:
            raise SpecError(f"{line}. Leave it out, or strict")
        self._say_once(line)

    def say(self) -> None:
        """Say it of every kind, in the end of a run."""
        for kind in self.longest:
            self._say_once(self._without_effect(kind))

    def _without_effect(self, kind: str) -> str:
        length = self.longest.get(kind)
        what = f"the longest {kind} request"
        return self.without_effect(length, what) if length else ""

    def without_effect(self, length: int, what: str) -> str:
        """Return the line on texts as long as this."""
        return without_effect(self.effective_from, length, what, self.stated)

    def _say_once(self, line: str) -> None:
        if line and line not in self._said:
            self._said.add(line)
            self._say(line)

    def to_dict(self) -> dict[str, Any]:
        """Return what is recorded: where each field begins, and how long the texts were."""
        return {"effective_from": self.effective_from, "longest": self.longest}
