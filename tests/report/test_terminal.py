"""Tables in a terminal: no line is too wide, and nothing of a table is lost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rope_eval.report import published as paper
from rope_eval.report.formats import Table
from rope_eval.report.terminal import fitted


@pytest.mark.parametrize("name", paper.NAMES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_and_every_number_is_there(name: str, width: int) -> None:
    table = paper.published(name)
    text = fitted(table, width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for column in table.columns:
        assert column.split()[0] in words
    numbers = [str(cell) for row in table.rows for cell in row if isinstance(cell, Decimal)]
    assert sorted(word for word in words if word in set(numbers)) == sorted(numbers)


def test_long_labels_and_captions_are_wrapped() -> None:
    table = Table(
        name="x",
        caption=f"{'word ' * 40}.",
        labels=("model", "books"),
        columns=("1K", "2K"),
        rows=(("a/" + "b" * 60, "builtin (1 document, abc123)", Decimal("1.25"), None),),
    )
    text = fitted(table, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.replace("\n", " ").count("b" * 8) >= 3
    assert "1.25" in text
