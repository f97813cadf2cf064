"""What is shown: the rows, tasks, metrics and lengths that were asked for, in that order."""

from __future__ import annotations

import argparse

import pandas as pd
import pytest

from rope_eval.commands.options import add_choice
from rope_eval.errors import SpecError
from rope_eval.report.choice import chosen

LINES = [
    ("lab/base-20", "books", "perplexity", 128),
    ("lab/base-20", "books", "accuracy", 128),
    ("lab/base-20", "books", "perplexity", 256),
    ("tiny, yarn=4,rope_theta=500", "books", "perplexity", 128),
    ("lab/base-1e6", "niah_single_1", "4096,none", 4096),
    ("Lab/x", "piqa", "acc_norm,none", None),
    ("lab/base-1e6", None, None, None),  # a run that has failed
]


@pytest.fixture
def frame() -> pd.DataFrame:
    table = pd.DataFrame(LINES, columns=["row", "task", "metric", "length"])
    return table.astype(
        {"row": "string", "task": "string", "metric": "string", "length": "Int64"}
    ).set_axis(range(10, 10 + len(LINES)))  # a part of a larger frame


def numbers(frame: pd.DataFrame) -> list[int]:
    return [int(index) - 10 for index in frame.index]


def test_nothing_chosen_is_everything(frame: pd.DataFrame) -> None:
    assert numbers(chosen(frame)) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["lab/*"], [0, 1, 2, 4, 6]),
        (["lab/base-1e6", "lab/base-20"], [4, 6, 0, 1, 2]),
        (["lab/base-1e6, *"], [4, 6, 0, 1, 2, 3, 5]),
        (["lab/*,lab/base-20"], [0, 1, 2, 4, 6]),  # the first pattern counts
        (["tiny, yarn=4,rope_theta=500,Lab/?"], [3, 5]),  # the commas of a name
        (["tiny?*500"], [3]),
    ],
)
def test_rows_by_pattern_in_the_order_of_patterns(
    frame: pd.DataFrame, rows: list[str], found: list[int]
) -> None:
    assert numbers(chosen(frame, rows=rows)) == found


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["perplexity"], [0, 2, 3]),
        (["accuracy,perplexity"], [1, 0, 2, 3]),
        (["books accuracy"], [1]),
        (["niah_*", "piqa"], [4, 5]),
        (["score"], [4]),
        (["4096,none"], [4]),
        (["acc*"], [1, 5]),
    ],
)
def test_columns_are_tasks_or_metrics(
    frame: pd.DataFrame, columns: list[str], found: list[int]
) -> None:
    assert numbers(chosen(frame, columns=columns)) == found


def test_lengths_and_all_three(frame: pd.DataFrame) -> None:
    assert numbers(chosen(frame, lengths=[4096, 256])) == [2, 4]
    kept = chosen(frame, rows=["tiny*", "lab/*"], columns=["perplexity"], lengths=[128])
    assert numbers(kept) == [3, 0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": ["lab/base-2"]}, "no row 'lab/base-2'. Did you mean 'lab/base-20'?"),
        ({"rows": ["lab/*", "LAB/*"]}, "no row 'LAB/[*]'"),
        ({"rows": ["tiny, yarn=*"]}, "no row 'tiny'. .* a comma too"),
        ({"columns": ["perplexty"]}, "no task or metric 'perplexty'. Did you mean 'perplexity'?"),
        ({"lengths": [512]}, "length of 512: there are 128, 256, 4096"),
        ({"rows": ["Lab/x"], "lengths": [128]}, "length of 128: there are none"),
    ],
)
def test_what_matches_nothing_is_refused(
    frame: pd.DataFrame, given: dict[str, list[str]], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        chosen(frame, **given)  # type: ignore[arg-type]


def test_an_error_lists_no_hundred_names() -> None:
    frame = pd.DataFrame({"row": [f"row-{i:02}" for i in range(30)]}, dtype="string")
    with pytest.raises(SpecError, match="'row-10', 'row-11' and 18 more; "):
        chosen(frame, rows=["zzz"])


def test_the_options_give_what_it_takes() -> None:
    parser = argparse.ArgumentParser()
    add_choice(parser)
    nothing = parser.parse_args([])
    assert (nothing.rows, nothing.columns, nothing.lengths) == ([], [], [])
    args = ["--rows", "a,b", "--rows", "c", "--columns", "acc", "--lengths", "4k,128"]
    some = parser.parse_args([*args, "--lengths", "1m"])
    assert (some.rows, some.columns) == (["a,b", "c"], ["acc"])
    assert some.lengths == [4096, 128, 1 << 20]
    assert parser.parse_args([]).lengths == []
    with pytest.raises(SpecError, match="a length is"):
        parser.parse_args(["--lengths", "4k,x"])
