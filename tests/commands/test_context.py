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
    assert "more than 0.3 nats above" in caption and "a factor of 1.09" in caption
    rows, caption = table(capsys, "--margin", "0.1")
    assert rows["me/steps"]["measured max context"] == 235
    assert "more than 0.1 nats above" in caption


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
