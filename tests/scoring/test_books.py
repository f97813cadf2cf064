"""The first N documents that are long enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from rope_eval.errors import LengthError
from rope_eval.scoring.books import long_enough
from studies.scaling_laws.recipes.model import build_tokenizer

LETTERS = {"a": 9, "b": 3, "c": 12, "d": 4, "e": 10}  # so many bytes, and BOS


@pytest.fixture
def books(tmp_path: Path) -> Path:
    for name, length in LETTERS.items():
        (tmp_path / f"{name}.txt").write_text(name * length)
    return tmp_path


@pytest.mark.parametrize(
    ("length", "documents", "names"),
    [(10, None, "ace"), (10, 2, "ac"), (11, None, "ce"), (13, 1, "c"), (2, None, "abcde")],
)
def test_n_counts_those_that_are_long_enough(
    books: Path, length: int, documents: int | None, names: str
) -> None:
    chosen = long_enough(books, length, build_tokenizer(), documents)
    assert [document.name for document, _ in chosen] == list(names)
    for document, ids in chosen:
        assert ids.tolist() == [256, *document.text.encode()][:length]


def test_what_comes_after_is_not_read(books: Path) -> None:
    (books / "d.txt").write_bytes(b"\xff")
    assert len(long_enough(books, 10, build_tokenizer(), 2)) == 2


@pytest.mark.parametrize(
    ("length", "documents", "message"),
    [
        (10, 4, r"4 documents of at least 10 tokens are needed, and .* has 3 \(of 5\): ask"),
        (14, None, r"1 document of at least 14 tokens is needed.* has 0 .*longest has 13 tokens"),
    ],
)
def test_too_few(books: Path, length: int, documents: int | None, message: str) -> None:
    with pytest.raises(LengthError, match=message):
        long_enough(books, length, build_tokenizer(), documents)
