"""Lengths as typed on the command line."""

import pytest

from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length, parse_lengths


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
    assert parse_lengths("4k, 8192,1m") == [4096, 8192, 1048576]
    assert parse_lengths("7") == [7]


@pytest.mark.parametrize("text", ["8k,4k", "4k,4096", "1k,2k,2k", "4k,16k,8k"])
def test_parse_lengths_refuses_unsorted_and_repeated(text: str) -> None:
    with pytest.raises(SpecError, match="lengths must increase"):
        parse_lengths(text)


@pytest.mark.parametrize("text", ["", "4k,", ",4k", "4k,,8k", "4k;8k", "0,4k"])
def test_parse_lengths_refuses_rubbish(text: str) -> None:
    with pytest.raises(SpecError, match="positive whole number"):
        parse_lengths(text)
