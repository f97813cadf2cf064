"""`rope-eval context` through argparse, on stores whose contexts are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.figure_store import put_books, put_in_windows
from rope_eval.cli import main
from rope_eval.results.store import Store

HARD = ((0, 1.0), (200, 1.5))  # a text that costs more from 200 on, wherever it is read


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    put_books(Store(), "me/steps", losses=((0, 1.0), (256, 1.2), (512, 2.0)), bound=400.0)
    put_books(Store(), "me/hard", losses=HARD)
    put_in_windows(Store(), "me/hard", losses=HARD)
    return Store()


def table(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], str]:
    assert main(["context", "--format", "json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    return {row["row"]: row for row in found["rows"]}, found["caption"]


def test_a_context_by_its_margin(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows, caption = table(capsys)
    # windows begin at eighths of an octave: of (431, 512] no token is lost, of (470, 558] 46 of 88
    assert rows["me/steps"]["measured max context"] == 470
    assert rows["me/steps"]["first lost window"] == "470 to 558"
    assert rows["me/steps"]["measured / bound"] == 1.18
    assert rows["me/steps"]["trained at"] == 128
    assert rows["me/steps"]["against"] == "the training length"
    assert rows["me/hard"]["first lost window"] == "none"
    assert rows["me/hard"]["measured max context"] == 1024
    assert rows["me/hard"]["against"] == "the same tokens"
    assert "costs 0.3 nats a token more than the same" in caption
    assert "a factor of 1.09" in caption
    rows, caption = table(capsys, "--margin", "0.1")
    assert rows["me/steps"]["measured max context"] == 235
    assert "costs 0.1 nats a token more" in caption


def test_windows_count_from_the_length_that_is_given(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, _ = table(capsys, "--rows", "me/hard", "--train-length", "256")
    assert rows["me/hard"]["against"] == "the training length"  # its in-window losses are of 128
    assert rows["me/hard"]["trained at"] == 256
    rows, _ = table(capsys, "--rows", "me/steps", "--train-length", "64", "--margin", "0.1")
    assert rows["me/steps"]["measured max context"] == 235


def test_what_has_no_bound_has_a_context(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put_books(store, "me/lawless", losses=((0, 1.0), (512, 3.0)), bound=None)
    rows, _ = table(capsys, "--rows", "me/lawless")
    assert rows["me/lawless"]["bound"] is None
    assert rows["me/lawless"]["measured max context"] == 470


def test_what_cannot_be_answered_is_refused(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["context", "--lengths", "64"]) == 2
    assert "of all lengths of a run" in capsys.readouterr().err
    put_books(store, "me/short", lengths=(64, 128, 140))
    assert main(["context", "--rows", "me/short"]) == 2
    assert "two windows past its training length: me/short" in capsys.readouterr().err


def test_a_published_curve_is_held_against_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["context", "--curve", "proof-pile-128k", "--format", "json"]) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["NousResearch/CodeLlama-7b-hf"]["lost window"] == "110592 to 118784"
    assert rows["NousResearch/CodeLlama-7b-hf"]["lost / bound"] == 0.92


def test_a_curve_of_ones_own_is_read_as_it_is_said_to_be_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("model,4k,8k,12k,16k,20k,24k\nmine,5,4,3.8,3.7,3.8,8\n")
    words = "--head-dim 128 --pretrain-theta 1e4 --train-length 4k --rope-theta 4e4 --steps 1"
    assert main(["context", "--curve", str(file), "--format", "json", *words.split()]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["bound"], row["base"], row["trained at"]) == (12762, 40000, 4096)
    assert row["lost window"] == "20480 to 24576"
    assert main(["context", "--curve", str(file), "--format", "json", "--tune-length", "16k"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["bound"], row["trained at"]) == (None, 16384)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--curve proof-pile-128k --results x", "--results has no meaning with --curve"),
        ("--curve proof-pile-128k --lengths 4k", "--lengths has no meaning with --curve"),
        ("--steps 4", "--steps is of --curve"),
        ("--rope-theta 1e6", "--rope-theta is of --curve"),
        ("--curve proof-pile-12k", "Did you mean"),
        ("--curve proof-pile-128k --steps 0", "--steps must be 1 or more"),
    ],
)
def test_options_of_the_other_reading_are_refused(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["context", *words.split()]) == 2
    assert message.lower() in capsys.readouterr().err.lower()
