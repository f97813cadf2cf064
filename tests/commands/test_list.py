"""`rope-eval list` through argparse."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from rope_eval.catalogue import rows
from rope_eval.commands import list as command
from rope_eval.errors import DataError
from rope_eval.report import terminal


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["list", *words])
    status: int = args.run(args)
    return status


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rows, "_cached", lambda name: None)


def facts(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    assert run("models", "--json", *words) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_text_shows_what_can_run_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    plain = capsys.readouterr().out
    run("models")
    assert capsys.readouterr().out == plain
    lines = {line.split()[0]: line for line in plain.splitlines()}
    assert lines["lab/base-20"].split()[1] == "yes"
    assert "3,4,5" in lines["llama2-13b/base-500"]
    assert lines["llama2-13b/base-500"].endswith(
        "never released: give your own as --checkpoint llama2-13b/base-500=DIR"
    )
    assert "is not downloaded" in lines["llama2-7b/ntk-dynamic"]


def test_no_line_is_wider_than_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "terminal_width", lambda: 80)
    run("models")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    words = "".join(out.split())
    assert all(word in words for word in ("lab/base-20", "tables", "yes"))


def test_json_and_a_checkpoint_of_ones_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lab = facts(capsys)["lab/base-20"]["checkpoint"]
    row = facts(capsys)["llama2-7b/base-500-log"]
    assert (row["checkpoint"], row["can_run"]) == (None, False)
    assert row["rope"]["log_scale"] is True
    assert row["paper"] == {"5": ["7B", "base=500, log-scaled"]}

    row = facts(capsys, "--checkpoint", f"llama2-7b/base-500={lab}")["llama2-7b/base-500-log"]
    assert (row["checkpoint"], row["can_run"], row["obstacle"]) == (lab, True, None)

    (tmp_path / "mine.yaml").write_text(f"llama2-7b/base-500: {lab}\n")
    row = facts(capsys, "--checkpoints", "mine.yaml")["llama2-7b/base-500"]
    assert row["can_run"]


def test_filter(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(facts(capsys, "--filter", "Qwen3")) == [
        "released/qwen3-0.6b",
        "released/qwen3-8b",
    ]
    assert list(facts(capsys, "--filter", "meta-llama/*8b")) == [
        "released/llama3-8b",
        "released/llama3.1-8b",
    ]
    assert list(facts(capsys, "--filter", "2409.12181"))[:1] == ["released/lceg-pi-32k"]
    assert set(facts(capsys, "--filter", "dynamic_ntk")) == {
        "llama2-7b/ntk-dynamic",
        "llama2-13b/ntk-dynamic",
    }
    assert facts(capsys, "--filter", "qwen3-8b")["released/qwen3-8b"]["source"].startswith("arXiv")
    with pytest.raises(DataError, match="no row of the catalogue has 'qwen33'"):
        run("--filter", "qwen33")


def test_a_checkpoint_of_an_unknown_row() -> None:
    with pytest.raises(DataError, match="Did you mean 'llama2-7b/base-500'"):
        run("models", "--checkpoint", "llama2-7b/base500=x")
