"""`rope-eval continue`: settings beside the book, the texts of the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rope_eval.cli import main
from rope_eval.commands.continuation import _side_by_side
from rope_eval.paths import asset
from rope_eval.results.store import Store

MODEL = asset("model_configs") / "lab" / "base-20"


def test_settings_stand_beside_the_book(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["continue", "--model", str(MODEL), "--books", "builtin-chapters", "--length", "40"]
    words += ["--tokens", "9", "--docs", "2", "--device", "cpu", "--results", str(tmp_path)]
    words += ["--rope", "", "--rope", "linear_factor=2"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["rope"] for one in found] == [{}, {"linear_factor": 2}]
    runs = {run.key: run for run in Store(tmp_path).runs()}
    assert {one["key"] for one in found} == runs.keys()
    assert not any(one["from_store"] for one in found)
    assert main(words) == 0
    shown = capsys.readouterr().out
    places = [f"run    {Store(tmp_path).place(one['key'])}, from the store" for one in found]
    assert shown.splitlines()[-2:] == places
    for one in found:
        assert one["samples"] == runs[one["key"]].results["samples"]
        for sample in one["samples"]:
            for text in (sample["text"], sample["reference"]):
                line = max(text.split("\n"), key=len)
                assert line[:20] in shown
    assert "linear_factor=2" in shown
    assert main(["continue", "--model", str(MODEL), "--length", "4x"]) == 2


def test_columns_are_cut_at_their_width_and_what_a_model_wrote_is_escaped() -> None:
    columns = [("the book", "one\ntwo"), ("a=1,b=2", "x" * 60 + "\x1b[31m")]
    assert _side_by_side(columns, 66).split("\n") == [
        "the book                          a=1, b=2",
        "-" * 32 + "  " + "-" * 32,
        "one                               " + "x" * 32,
        "two                               " + "x" * 28 + "\\x1b",
        "                                  [31m",
    ]
    narrow = _side_by_side(columns, 30).split("\n\n")
    assert len(narrow) == 2 and narrow[1].startswith("a=1, b=2")
