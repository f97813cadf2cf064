"""Strategies of bad input: words, JSON values, and right things with a few places made wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "7",
        "1k",
        "1e400",
        "nan",
        "inf",
        "-inf",
        "1e9",
        "9" * 30,
    ),
    *("abc", "x" * 300, "a\0b", "\ud800", "\x1b[31mred", "line\nline", "🎉", "\u202e", "Å" * 200),
    *(".", "..", "../..", "/", "~", "/dev/null", "/dev/zero", "/proc/self/mem", "/proc/x"),
    *("book.txt", "model", "runs", "out", "a/b", "a/b/c", "lab/base-20", "pipe", "loop", "."),
    *(
        "5,5",
        "64,",
        ",",
        "=",
        "a=b",
        "=1",
        "a=1,a=2",
        "{}",
        "[]",
        "null",
        "true",
        "none",
        '{"a": 1}',
    ),
    *(
        "meta",
        "cuda:99",
        "cpu:x",
        "float33",
        "--json",
        "--no-such",
        "[" * 5000,
        "builtin:",
        "pg19:x",
    ),
)
word = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from((10**30, -(10**30), 1 << 63, 65536)),
    st.floats(),
    word,
)
value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(word, inner, max_size=3),
    max_leaves=5,
)


def deep(levels: int = 20_000) -> str:
    """Return JSON that is nested too deeply for a parser that recurses."""
    return "[" * levels + "]" * levels


@st.composite
def wrong(draw: st.DrawFn, right: Any) -> Any:
    """Return a plain value like the right one, with one to three places of it changed."""
    made = [copy.deepcopy(right)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(made, None))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(("replace", "replace", "replace", "drop", "add", "wrap"))):
            case "replace":
                holder[key] = draw(value)
            case "drop" if holder is not made:
                del holder[key]
            case "add" if isinstance(holder[key], dict):
                holder[key][draw(word)] = draw(value)
            case "add" if isinstance(holder[key], list):
                holder[key].append(draw(value))
            case _:
                holder[key] = [holder[key]]
    return made[0]


@st.composite
def damaged(draw: st.DrawFn, right: bytes) -> bytes:
    """Return bytes like the right ones: cut off, with some changed, or with some put in."""
    data = bytearray(right)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("cut", "change", "insert", "insert"))):
            case "cut":
                del data[at:]
            case "change" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


def _places(holder: Any, key: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a value: what holds it, and under which key or number."""
    inner = holder if key is None else holder[key]
    if key is not None:
        yield holder, key
    if isinstance(inner, dict):
        for name in list(inner):
            yield from _places(inner, name)
    elif isinstance(inner, list):
        for number in range(len(inner)):
            yield from _places(inner, number)
