"""Lengths as typed on the command line."""

import pytest

from rope_eval.errors import SpecError
from rope_eval.lengths import check_lengths, parse_length, parse_lengths


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("1", 1), ("4096", 4096), ("4k", 4096), ("16K", 16384), ("1m", 1048576), (" 2M ", 2097152)],
)
def test_parse_length(text: str, tokens: int) -> None:
    assert parse_length(text) == tokens


RUBBISH = ["", " ", "0", "0k", "-1", "-4k", "+4k", "k", "4kb", "4 k", "4g", "1.5k", "1e3"]
RUBBISH += ["1_000", "nan", "4k,8k", "0x10", "٤", "9" * 5000]


@pytest.mark.parametrize("text", RUBBISH)
def test_parse_length_refuses_rubbish_and_repeats_it(text: str) -> None:
    with pytest.raises(SpecError, match="positive whole number") as caught:
        parse_length(text)
    assert repr(text) in str(caught.value)


def test_parse_lengths() -> None:
    assert parse_lengths("4k, 8192,1m") == (4096, 8192, 1048576)
    assert parse_lengths("7") == (7,)
    with pytest.raises(SpecError, match="2 or more tokens, got 1"):
        parse_lengths("1,2")


@pytest.mark.parametrize("text", ["8k,4k", "4k,4096", "1k,2k,2k", "4k,16k,8k"])
def test_parse_lengths_refuses_unsorted_and_repeated(text: str) -> None:
    with pytest.raises(SpecError, match="lengths must increase"):
        parse_lengths(text)


@pytest.mark.parametrize("text", ["", "4k,", ",4k", "4k,,8k", "4k;8k", "0,4k"])
def test_parse_lengths_refuses_rubbish(text: str) -> None:
    with pytest.raises(SpecError, match="positive whole number"):
        parse_lengths(text)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([], "empty"),
        ([1], "2 or more"),
        ([0, 4], "2 or more"),
        ([4.5], "whole"),
        (["4k"], "whole"),
        ([True], "whole"),
        ([8, 4], "increase"),
        ([4, 4], "not repeat"),
    ],
)
def test_bad_lengths(lengths: list[object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_lengths(lengths)


def test_good_lengths() -> None:
    assert check_lengths([2, 100]) == (2, 100)
