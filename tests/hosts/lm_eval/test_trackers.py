"""Runs of a plan in trio: the store, trackio's own file and wandb's, offline."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rope_eval.cli import main
from rope_eval.hosts.lm_eval import trackers
from rope_eval.hosts.lm_eval.trackers import Tracking, results_of
from rope_eval.paths import asset
from rope_eval.plans.plan import Plan
from rope_eval.plans.tracking import told
from rope_eval.plans.worker import work
from rope_eval.results.store import Run, Store

PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{asset("model_configs") / "lab" / "base-20"}]
settings: [{{}}, {{rope_theta: 1e6}}]
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 64], docs: 2}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "bases.yaml"
    made.write_text(PLAN)
    return made


def logged(file: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "rope_eval", "run", str(file), *words)
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        cwd=file.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


def test_each_new_run_is_told_once_and_no_document(file: Path, tmp_path: Path) -> None:
    seen: list[Run] = []
    store = Store(tmp_path / "runs").telling(seen.append)
    plan = Plan.read(file)
    assert work(plan, store).units == 4
    assert [run.key for run in seen] == [run.key for run in store.runs()]
    assert work(plan, store).units == 0
    store.put(seen[0])
    assert len(seen) == 2
    assert told(store, []).root == store.root


def test_numbers_are_those_of_the_frame(file: Path, tmp_path: Path) -> None:
    seen: list[Run] = []
    work(Plan.read(file), Store(tmp_path / "runs").telling(seen.append))
    found = results_of(seen[1])
    ((task, numbers),) = found["results"].items()
    assert task.startswith("builtin-chapters (2 documents, ")
    totals = seen[1].results["totals"]
    assert set(numbers) == {"perplexity@32", "accuracy@32", "perplexity@64", "accuracy@64"}
    assert numbers["accuracy@64"] == totals[1]["hits"] / totals[1]["tokens"]
    assert found["config"]["rope"]["rope_theta"] == 1e6
    assert found["config"]["key"] == seen[1].key


def test_what_a_tracker_raises_ends_no_work(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("no route, token=hunter2")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(trackers, "_log", refuse)
    store = told(Store(tmp_path / "runs"), [Tracking(kind="wandb")])
    with caplog.at_level(logging.WARNING):
        assert work(Plan.read(file), store).cells == 2
    lines = [r.getMessage() for r in caplog.records if r.name == trackers.__name__]
    assert len(lines) == 2
    assert "is stored, and not logged to wandb: no route, token=***" in lines[0]


@pytest.mark.parametrize("kind", ["trackio", "wandb"])
def test_a_tracker_that_is_not_there_is_said_before_the_work(
    file: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == kind else real(name, *rest)
    )
    assert main(["run", str(file), "--store", str(file.parent / "runs"), f"--{kind}"]) == 2
    assert f"--{kind} needs {kind}: `pip install {kind}`" in capsys.readouterr().err
    assert not (file.parent / "runs").exists()


def test_options_are_names_and_values(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: name)
    assert main(["run", str(file), "--wandb", "project"]) == 2
    assert "--wandb is written name=value,name=value, got 'project'" in capsys.readouterr().err


@needs("trackio")
def test_trackio_keeps_each_run(file: Path, tmp_path: Path) -> None:
    logged(
        *(file, "--store", "runs", "--trackio", "project=bases"),
        TRACKIO_DIR=str(tmp_path / "trackio"),
    )
    store = Store(tmp_path / "runs")
    read = (
        "import json, trackio\n"
        "runs = trackio.Api().runs('bases')\n"
        "print(json.dumps([[run.name, run.config] for run in runs]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", read],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")},
    )
    kept = json.loads(done.stdout.splitlines()[-1])
    assert {config["key"] for _, config in kept} == {run.key for run in store.runs()}


@needs("wandb")
def test_wandb_keeps_each_run(file: Path, tmp_path: Path) -> None:
    logged(
        *(file, "--store", "runs", "--wandb", "project=bases,mode=offline"),
        WANDB_DIR=str(tmp_path),
        WANDB_X_DISABLE_META="true",
        WANDB_X_DISABLE_STATS="true",
    )
    files = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    keys = [run.key.encode() for run in Store(tmp_path / "runs").runs()]
    whole = [file.read_bytes() for file in files]
    assert all(any(key in data for data in whole) for key in keys)
