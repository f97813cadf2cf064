"""`rope-eval store`, and what a bad entry does to the commands that read the store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from helpers import lm_eval_files
from rope_eval.cli import main
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.stats import wilson
from rope_eval.results.store import Store


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with one run, in the place where commands look."""
    monkeypatch.chdir(tmp_path)
    lm_eval_files.write(tmp_path / "out", {"rope_paper_gsm": (0.25, 8)}, model_args="pretrained==x")
    (imported,) = read_lm_eval(tmp_path / "out")
    return Store().put(imported.run, imported.arrays).key


def damage(key: str) -> Path:
    path = Store().place(key)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    return path


def test_verify(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "verify"]) == 0
    assert capsys.readouterr().out == f"results/runs/{key}.zip: ok: lm_eval =x\n1 ok\n"
    path = damage(key)
    Path("results/runs/notes.txt").touch()
    Path(f"results/runs/.{key}.{'0' * 32}.tmp").touch()
    assert main(["store", "verify", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["count"] == {"leftover": 1, "damaged": 1, "foreign": 1}
    why = "its checksum is not that of its content"
    assert {"file": str(path), "state": "damaged", "why": why} in facts["entries"]
    assert main(["store", "verify"]) == 1
    assert f"{path}: damaged: {why}\n" in capsys.readouterr().out
    assert main(["store", "verify", "--results", "nowhere"]) == 2
    assert "no folder of runs at nowhere" in capsys.readouterr().err


def test_sweep(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    left = Path(f"results/runs/.{key}.{'0' * 32}.tmp")
    left.touch()
    assert main(["store", "sweep"]) == 0
    assert f"{left}: kept, not known to be older than 10 minutes" in capsys.readouterr().out
    os.utime(left, (0, 0))
    assert main(["store", "sweep", "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"dry_run": True, "removed": [str(left)], "kept": []}
    assert main(["store", "sweep"]) == 0
    assert capsys.readouterr().out == f"{left}: removed\n"
    assert not left.exists()
    assert main(["store", "sweep"]) == 0
    assert capsys.readouterr().out == "no leftovers\n"
    assert Store().get(key) is not None
    assert main(["store", "sweep", "--older-than", "-1"]) == 2


def test_export(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "export", "-o", "runs.csv"]) == 0
    assert capsys.readouterr().out == "1 numbers of 1 runs are in runs.csv\n"
    lines = Path("runs.csv").read_text().splitlines()
    assert lines[0].startswith("row,model,weights,setting,kind,host")
    assert lines[1].startswith("'=x,'=x,'=x,neutral,lm_eval,lm-eval")
    assert main(["store", "export", "-o", "runs.parquet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
    table = pd.read_parquet("runs.parquet")
    assert table["model"].tolist() == ["=x"]  # as it is: parquet has no formulas
    assert table["value"].tolist() == [0.25]
    assert table["low"].isna().all()
    assert main(["store", "export", "--intervals", "-o", "runs.parquet"]) == 0
    table = pd.read_parquet("runs.parquet")
    assert (table["low"][0], table["high"][0]) == pytest.approx(wilson(0.25, 8))
    assert main(["store", "export", "-o", "no/such/folder.csv"]) == 2
    assert "cannot write no/such/folder.csv" in capsys.readouterr().err


def test_export_of_items(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm_eval_files.write(
        tmp_path / "more",
        {"rope_paper_gsm": [1.0, 0.0]},
        model_args="pretrained==x",
    )
    (imported,) = read_lm_eval(tmp_path / "more")
    Store().put(imported.run, imported.arrays)
    assert main(["store", "export", "--items", "-o", "items.parquet"]) == 0
    assert capsys.readouterr().out == "2 rows of 1 runs are in items.parquet\n"
    table = pd.read_parquet("items.parquet")
    assert table["sum"].tolist() == [1.0, 0.0]
    assert table["model"].tolist() == ["=x"] * 2
    assert main(["store", "export", "--items", "-o", "items.csv"]) == 0
    assert pd.read_csv("items.csv")["model"].tolist() == ["'=x"] * 2
    for more in (["--intervals"], ["--format", "inspect"]):
        assert main(["store", "export", "--items", *more, "-o", "items.csv"]) == 2
        assert "--items are csv or parquet" in capsys.readouterr().err


def test_a_bad_entry_stops_no_table_and_no_comparison(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval_files.write(tmp_path / "more", {"rope_paper_gsm": (0.5, 8)})
    (imported,) = read_lm_eval(tmp_path / "more")
    Store().put(imported.run)
    path = damage(key)
    Path("results/runs/stray").mkdir()
    lines = [
        f"rope-eval: left out: {path}: damaged: its checksum is not that of its content",
        "rope-eval: left out: results/runs/stray: foreign: a run's name is 16 hex digits and .zip",
    ]
    assert main(["table", "5", "--source", "runs"]) == 0
    out, err = capsys.readouterr()
    assert "50.00" in out and "25.00" not in out
    assert err.splitlines() == lines
    assert main(["compare", "me/model", "--baseline", "paper:LLaMA2 7B"]) == 0
    assert capsys.readouterr().err.splitlines() == lines
    assert main(["import", "out"]) == 0  # what is imported again is whole again
    assert Store().get(key) is not None


@pytest.mark.parametrize("job", [(), ("verify",), ("sweep",), ("export",)])
def test_help_has_examples(job: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["store", *job, "--help"])
    assert caught.value.code == 0
    assert "examples:\n  rope-eval store" in capsys.readouterr().out
