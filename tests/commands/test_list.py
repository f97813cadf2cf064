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


def test_names_stand_below_their_family_and_whether_they_can_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run() == 0
    plain = capsys.readouterr().out
    run("models")
    assert capsys.readouterr().out == plain
    blocks = {block.split(":")[0]: block.splitlines() for block in plain.split("\n\n")}
    assert list(blocks)[:4] == ["lab", "llama2-13b", "llama2-7b", "released"]
    assert blocks["lab"][0] == "lab: 9"
    assert blocks["lab"][1].startswith("  here     pretrained, base-20, ")
    assert blocks["llama2-7b"][1] == "  hub      plain, ntk-fixed-8, ntk-dynamic"
    assert blocks["llama2-7b"][2].startswith("  yours    pi-2, pi-4, base-500,")
    assert blocks["here"] == [
        "here: can run now",
        "hub: the first run downloads it",
        "yours: never released: give your own, `NAME: DIR` in checkpoints.yaml",
    ]
    assert plain.endswith("A row's name is FAMILY/NAME: --config lab/pretrained\n")


def test_a_row_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--filter", "llama2-7b/base-500", "--checkpoint", f"llama2-7b/base-500={tmp_path}/x")
    run("models", *words)
    out = capsys.readouterr().out
    assert "  broken   base-500, base-500-log\n" in out
    assert "broken: cannot be read: --long says why" in out


def test_all_that_is_known_of_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    run("models", "--long", "--filter", "llama2-7b/base-500")
    first = capsys.readouterr().out.split("\n\n")[0]
    assert " ".join(first.split()) == (
        "llama2-7b/base-500 setting rope_theta=500,pretrain_theta=10000,train_length=4096, "
        "tune_length=4096 tables 3, 4, 5 can run no: never released: give your own, "
        "`llama2-7b/base-500: DIR` in checkpoints.yaml"
    )
    run("models", "--long", "--filter", "qwen3-8b")
    out = " ".join(capsys.readouterr().out.split())
    assert "model Qwen/Qwen3-8B-Base source arXiv 2505.09388" in out
    assert "can run no: Qwen/Qwen3-8B-Base is not downloaded" in out


@pytest.mark.parametrize("words", [(), ("--long",), ("plans",)])
def test_no_line_is_wider_than_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    run(*(words if words == ("plans",) else ("--filter", "llama2*", *words)))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    monkeypatch.setattr(command, "terminal_width", lambda: 60)
    run(*(words if words == ("plans",) else ("--filter", "llama2*", *words)))
    out = capsys.readouterr().out
    assert 55 < max(map(len, out.splitlines())) <= 60
    assert "…" not in out


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
