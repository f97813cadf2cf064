"""`rope-eval figure`: a file, its data, what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from helpers.figure_store import put_books, put_task
from rope_eval.cli import main
from rope_eval.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "results" / "runs")


def test_a_figure_and_its_data(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put_books(store, "me/one")
    put_books(store, "me/two")
    put_task(store, "me/task", "piqa", metrics={"acc,none": 0.5})
    words = ["figure", "curves", "--rows", "me/two,me/task", "--lengths", "64,1k"]
    assert main([*words, "-o", "a.svg", "--data", "a.csv"]) == 0
    said = capsys.readouterr()
    assert said.out == "figure: a.svg\n"
    assert said.err == "note: not drawn, as there is no perplexity by length: me/task\n"
    table = pd.read_csv("a.csv")
    assert table[["row", "length"]].values.tolist() == [["me/two", 64], ["me/two", 1024]]
    assert Path("a.svg").read_text().startswith("<?xml")
    assert main([*words, "-o", "a.pdf"]) == 0
    assert Path("a.pdf").read_bytes().startswith(b"%PDF")


def test_periods_need_no_runs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["figure", "periods", "--config", "lab/pretrained", "--rope", "", "--rope"]
    words += ["linear_factor=4", "-o", "p.png", "--data", "p.csv", "--width", "3.3"]
    assert main(words) == 0
    table = pd.read_csv("p.csv")
    assert list(dict.fromkeys(table["panel"])) == [
        "lab/pretrained",
        "lab/pretrained, linear_factor=4",
    ]
    one, four = (
        table[table["panel"] == panel]["period"] for panel in dict.fromkeys(table["panel"])
    )
    assert four.tolist() == pytest.approx([4 * period for period in one])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("curve -o a.png", "no figure 'curve'. Did you mean 'curves'?"),
        ("curves -o a.jpg", "--output must end in .png, .svg, .pdf, got a.jpg"),
        ("curves -o none/a.png", "there is no folder none"),
        ("curves -o a.png --data none/a.csv", "there is no folder none"),
        ("curves -o a.png --rows me/tow", "Did you mean 'me/two'?"),
        ("curves -o a.png --metric f1", "the store has no f1 by length"),
        ("curves -o a.png --width 0", "--width must be a number above 0, got 0"),
        ("curves -o a.png --width 100", "--width must be 40 inches or less"),
        ("curves -o a.png --rope log_scale=true", "--rope is of periods"),
        ("attention -o a.png", "the store has no attention scores"),
        ("retrieval -o a.png --metric accuracy", "retrieval has its own"),
        ("periods -o a.png", "give a model: --model DIR"),
        ("periods -o a.png --config lab/pretrained --rows x", "--rows is of runs"),
        ("periods -o a.png --model none", "none"),
        ("periods -o a.png --config lab/pretrained --rope rope_teta=1", "'rope_theta'"),
    ],
)
def test_what_cannot_be_done_is_said(
    store: Store, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    put_books(store, "me/two")
    assert main(["figure", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not Path("a.png").exists()
