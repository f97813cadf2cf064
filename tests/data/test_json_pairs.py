"""Objects of random pairs: as long as fits, one pair asked for, two shown."""

from __future__ import annotations

import json
import re

import pytest

from rope_eval.data.json_pairs import JsonPairs
from rope_eval.errors import LengthError


def parts(prompt: str) -> tuple[dict[str, str], list[tuple[str, str]], str]:
    """Return the object, the worked examples and the key that is asked for."""
    found = re.search(r"JSON data:\n(\{.*?\})\n\n", prompt, re.DOTALL)
    assert found is not None
    shown = re.findall(r"Key: (\S+)\nCorresponding value: (\S+)", prompt)
    key = prompt.rsplit("Key: ", 1)[1].removesuffix("\nCorresponding value:")
    return json.loads(found[1]), shown, key


@pytest.mark.parametrize("depth", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("room", [900, 4000])
def test_it_is_as_long_as_fits(room: int, depth: float) -> None:
    pairs = JsonPairs(seed=42, sample=3)
    prompt = pairs.prompt(len, room=room, depth=depth)
    found, shown, key = parts(prompt)
    assert room - 81 < len(prompt) <= room  # a pair more is 81 characters
    assert (key, found[key]) == pairs.asked
    assert list(found).index(key) == round(depth * (len(found) - 1))
    assert len(shown) == 2 and all(found[k] == v for k, v in shown)
    assert key not in dict(shown)


def test_tokens_of_uneven_length_fit_too() -> None:
    def count(text: str) -> int:
        return len(re.findall(r"\d+|[a-f]|\W", text))

    prompt = JsonPairs(seed=1, sample=0).prompt(count, room=1500, depth=0.5)
    assert 1500 - 45 < count(prompt) <= 1500


def test_lengths_share_their_question_and_samples_do_not() -> None:
    short, long = (
        parts(JsonPairs(seed=42, sample=0).prompt(len, room=room, depth=0.0))
        for room in (900, 4000)
    )
    assert short[2] == long[2] and list(long[0])[: len(short[0])] == list(short[0])
    assert len({JsonPairs(seed=s, sample=n).asked for s in (0, 1) for n in (0, 1)}) == 4


def test_too_little_room_is_named() -> None:
    with pytest.raises(LengthError, match=r"an object of 4 pairs and its question take \d+ tokens"):
        JsonPairs(seed=42, sample=0).prompt(len, room=600, depth=0.0)
