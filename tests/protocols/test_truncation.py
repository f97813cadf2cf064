"""Cutting long prompts on one side."""

from __future__ import annotations

import pytest

from rope_eval.errors import LengthError, UnsupportedModelError
from rope_eval.protocols.truncation import Side, cut
from studies.scaling_laws.recipes.model import build_tokenizer

TOKENIZER = build_tokenizer()
TEXT = "0123456789é"  # 12 bytes, and BOS


def count(text: str) -> int:
    return len(text.encode()) + 1


@pytest.mark.parametrize(
    ("side", "room", "left"),
    [("left", 9, "456789é"), ("right", 8, "0123456"), ("middle", 8, "01289é")],
)
def test_a_side_is_left_out(side: Side, room: int, left: str) -> None:
    assert cut(TOKENIZER, TEXT, 13, side, count, option="here") == TEXT
    assert cut(TOKENIZER, TEXT, room, side, count, option="here") == left


@pytest.mark.parametrize("option", ["truncate_at", "max_seq_len"])
def test_an_error_names_the_hosts_option(option: str) -> None:
    with pytest.raises(LengthError, match=f"no token of a prompt fits: {option} leaves room for 1"):
        cut(TOKENIZER, TEXT, 1, "left", count, option=option)


def test_a_tokenizer_that_does_not_know_where_its_tokens_are() -> None:
    class Slow:
        """Has no `is_fast`."""

    with pytest.raises(UnsupportedModelError, match=r"fast tokenizer.*Slow does not"):
        cut(Slow(), TEXT, 5, "left", count, option="here")  # type: ignore[arg-type]
