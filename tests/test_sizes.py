"""Sizes of memory as typed."""

import pytest

from rope_eval.errors import SpecError
from rope_eval.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 << 30), ("512 mib", 512 << 20), ("1.5KB", 1500), ("2TB", 2 * 10**12)],
)
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8", "8G", "0GiB", "-1GiB", "GiB", "", "8GiBs", "1e3MB", None, 8])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(SpecError, match="such as 8GiB"):
        parse_size(text)


def test_a_size_is_said_to_three_digits() -> None:
    assert size_text(999) == "999 B"
    assert size_text(1023 << 20) == "0.999 GiB"
    assert size_text(5 << 50) == "5.12e+03 TiB"
