"""Text that retrieval can be learnt from: a fact planted early, and asked for later.

A fact is a line ``@A42;``, its question a line ``?A42;``: the key one of four letters, the value
two digits. Between them stand lines of other text. A reader who has seen ``@A42;`` and now reads
``?A`` knows what follows, and only by looking back: the values are drawn at random.

In training a text holds one fact, as in passkey retrieval: the lab's model learns to find it, and
not, in the few steps that it has, to tell several apart by their keys.
"""

from __future__ import annotations

import random
import string
from bisect import bisect_left

KEYS = "ABCD"
"""The keys, one byte each; no key stands for two facts in one text."""

VALUE_LETTERS = string.digits
VALUE_LENGTH = 2

LINE_BYTES = len("@A42;\n")
"""Bytes of a fact's line, and of a question's, with the line end."""

LONGEST_CUT = 32
"""A planted text loses up to this many bytes at its end: that of a usual line of source."""


def fact(key: str, value: str) -> str:
    r"""Return the line that plants a value.

    >>> fact("A", "42")
    '@A42;\n'
    """
    return f"@{key}{value};\n"


def question(key: str) -> str:
    """Return the start of the line that asks for a key's value; :func:`answer` completes it.

    >>> question("A")
    '?A'
    """
    return f"?{key}"


def answer(value: str) -> str:
    r"""Return what completes a question's line.

    >>> answer("42")
    '42;\n'
    """
    return f"{value};\n"


def draw_facts(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Draw ``(key, value)`` pairs with different keys, at most four."""
    return [
        (key, "".join(rng.choices(VALUE_LETTERS, k=VALUE_LENGTH)))
        for key in rng.sample(KEYS, count)
    ]


def plant(rng: random.Random, filler: bytes, length: int) -> bytes:
    """Return ``length`` bytes of filler with a fact and questions between its lines.

    There are 2 to ``length // 6`` of these lines, every octave of that equally likely. The first is
    the fact, the others ask for it. Their places are uniform in the filler, moved to the nearest
    line start. What is returned is cut anywhere, within a line too: otherwise its last byte would
    always be a line end, and the model would learn that rather than the text.

    Args:
        rng: what is drawn from.
        filler: at least :func:`filler_bytes` of text, the end of which is used.
        length: bytes to return.
    """
    whole = length + rng.randrange(LONGEST_CUT)
    lines = round(2 * (length // LINE_BYTES / 2) ** rng.random())
    ((key, value),) = draw_facts(rng, 1)
    room = whole - LINE_BYTES * lines
    filler = filler[len(filler) - room :]
    line_starts = [0, *(i + 1 for i, byte in enumerate(filler) if byte == ord("\n"))]
    places = sorted(_nearest(line_starts, rng.randint(0, room)) for _ in range(lines))
    planted = [fact(key, value), *[question(key) + answer(value)] * (lines - 1)]
    parts: list[bytes] = []
    done = 0
    for place, line in zip(places, planted, strict=True):
        parts += [filler[done:place], line.encode()]
        done = place
    return b"".join([*parts, filler[done:]])[:length]


def filler_bytes(length: int) -> int:
    """Return how much filler a planted text of ``length`` bytes may need."""
    return length + LONGEST_CUT


def _nearest(places: list[int], wanted: int) -> int:
    """Return the value of a sorted list that is nearest to the one wanted."""
    after = bisect_left(places, wanted)
    return min(places[max(after - 1, 0) : after + 1], key=lambda place: abs(place - wanted))
