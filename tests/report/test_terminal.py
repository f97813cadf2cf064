"""Tables in a terminal: no line is too wide, and nothing of a table is lost."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from rope_eval.report import published as paper
from rope_eval.report.formats import Table
from rope_eval.report.terminal import fitted


@pytest.mark.parametrize("name", paper.NAMES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_and_every_number_is_there(name: str, width: int) -> None:
    published = paper.published(name)
    text = fitted(published, width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for column in published.columns:
        assert column.split()[0] in words
    numbers = [str(cell) for row in published.rows for cell in row if isinstance(cell, Decimal)]
    assert sorted(word for word in words if word in set(numbers)) == sorted(numbers)


def table(*models: str, **changes: Any) -> Table:
    numbers = (Decimal("1.25"), None), (Decimal("2.50"), Decimal("3.75"))
    some = Table(
        name="x",
        caption="All of it.",
        labels=("model", "task", "metric"),
        columns=("1K", "2K"),
        rows=tuple(
            (model, task, "acc", *cells)
            for task, cells in zip(("piqa", "arc"), numbers, strict=True)
            for model in models
        ),
        group_by=("task", "metric"),
    )
    return replace(some, **changes)


def test_what_competes_stands_together_below_its_name() -> None:
    assert fitted(table("a", "b"), 80).splitlines() == [
        "piqa, acc",
        "",
        "model    1K",
        "-----  ----",
        "a      1.25",
        "b      1.25",
        "",
        "arc, acc",
        "",
        "model    1K    2K",
        "-----  ----  ----",
        "a      2.50  3.75",
        "b      2.50  3.75",
        "",
        "All of it.",
    ]


def test_of_one_row_a_group_all_stand_below_what_they_share() -> None:
    lines = fitted(table("a"), 80).splitlines()
    assert (lines[0], lines[2].split()) == ("a, acc", ["task", "1K", "2K"])
    odd = (("a", "piqa", "acc", Decimal(1), None), ("b", "arc", "f1", Decimal(2), None))
    lines = fitted(table(rows=odd), 80).splitlines()
    assert lines[0].split() == ["model", "task", "metric", "1K", "2K"]
    one = table("a", rows=(("a", "piqa", "acc", Decimal("1.25"), None),))
    assert fitted(one, 80).startswith("piqa, acc\n\nmodel ")


def test_names_that_differ_in_the_middle_stay_apart() -> None:
    names = [f"{'a' * 35}{letter}{'b' * 35}" for letter in "xyz"]
    text = fitted(table(*names), 80)
    shorts = {line.split()[0] for line in text.splitlines() if line.endswith("1.25")}
    assert len(shorts) == 3
    assert all(name in text for name in names)
    names = [f"{'a' * 60}{letter}{'b' * 39}" for letter in "xyz"]
    shorts = {
        line.split()[0] for line in fitted(table(*names), 80).splitlines() if line.endswith("1.25")
    }
    assert {short[-3:] for short in shorts} == {"bbb", "(2)", "(3)"}


def test_an_interval_is_not_broken_and_names_are_at_their_commas() -> None:
    ends = (Decimal("-1234567.1234"), Decimal("1234567.1234"))
    name = "model, " + ",".join(f"a_long_field_{i}=1000000" for i in range(9))
    text = fitted(table(name, "b", intervals={(0, 3): ends}), 60)
    assert "1.25 [-1234567.1234, 1234567.1234]" in text
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60
    in_full = [line for line in lines if "a_long_field_" in line and "…" not in line]
    assert all(line.endswith((",", "=1000000")) for line in in_full)


def test_a_label_that_leaves_room_is_whole_and_columns_stand_below() -> None:
    long = "m" * 55
    text = fitted(table(long, "b", columns=("1" * 12, "2" * 12)), 80)
    assert text.count(long) == 3  # piqa has one column, arc two that stand below each other
    assert "…" not in text


def test_a_longer_label_is_cut_and_stands_in_full_at_the_end() -> None:
    first, second = ("a/" + letter * 90 + f"/{letter}" for letter in "xy")
    text = fitted(table(first, second), 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for name, letter in ((first, "x"), (second, "y")):
        (in_full,) = (line for line in text.split("\n\n") if f"{letter}: a/{letter}" in line)
        whole = in_full.replace("\n", "")
        assert name in whole
        short = [line for line in lines if "…" in line and line.endswith("1.25")]
        assert len(short) == 2
        assert any(line.startswith(f"a/{letter}") and f"/{letter} " in line for line in short)


def test_captions_are_wrapped() -> None:
    text = fitted(table("a", caption=f"{'word ' * 40}."), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("word") == 40


def test_a_label_that_would_come_again_and_again_is_cut() -> None:
    columns = tuple(name * 13 for name in "1234")
    rows = tuple((name * 30, "a book", *map(Decimal, "1234")) for name in "mn")
    some = table(labels=("row", "books"), columns=columns, rows=rows, group_by=())
    text = fitted(some, 60)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0] == "a book"  # what all rows share stands above them
    assert [line.split() for line in lines if line.startswith("row")] == [
        ["row", *columns[:2]],
        ["row", *columns[2:]],
    ]
    assert f"{'m' * 30}" in text and text.count("n" * 30) == 1
