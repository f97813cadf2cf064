"""The sbatch script of docs/machines.md, run as a plain shell in the place of SLURM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rope_eval.paths import asset
from rope_eval.plans.claims import Claims
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "machines.md"
PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{asset("model_configs") / "lab" / "base-20"}]
settings:
  - grid: {{rope_theta: [500, 10000, 1000000, 100000000]}}
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 512], docs: 6}}
results: runs
"""
UNITS = 24


def script() -> str:
    (found,) = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", PAGE.read_text("utf-8"), re.S)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user has a plan and the script, and rope-eval on the path."""
    command = tmp_path / "bin" / "rope-eval"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rope_eval "$@"\n')
    command.chmod(0o755)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "plan.sbatch").write_text(script())
    return tmp_path


def task(folder: Path, index: int, of: int) -> subprocess.Popen[str]:
    given = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_COUNT": str(of),
    }
    return subprocess.Popen(
        ["bash", str(folder / "plan.sbatch"), "plan.yaml"],
        cwd="/",
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_array_shares_a_plan_and_a_task_that_is_ended_begins_again(folder: Path) -> None:
    store = Store(folder / "runs")
    ended = task(folder, 1, 2)
    while not Claims(folder / "runs").held():
        assert ended.poll() is None
        time.sleep(0.01)
    other = task(folder, 2, 2)
    ended.send_signal(signal.SIGTERM)  # as by --signal=B:TERM@60
    _, errors = ended.communicate()
    assert ended.returncode == 143, errors
    again = task(folder, 1, 2)  # as by --requeue
    said = [one.communicate()[0] for one in (other, again)]
    assert [other.returncode, again.returncode] == [0, 0]
    assert all("4 of 4 cells done, 0 failed" in text for text in said)
    computed = [int(text.partition("computed ")[2].partition(" units")[0] or 0) for text in said]
    assert 0 < sum(computed) <= UNITS
    assert Claims(folder / "runs").held() == []
    alone = Store(folder / "alone")
    assert work(Plan.read(folder / "plan.yaml"), alone).units == UNITS
    assert {run.key: run.results for run in store.runs()} == {
        run.key: run.results for run in alone.runs()
    }


def test_the_script_asks_for_an_array_that_is_told_of_its_end() -> None:
    asked = dict(re.findall(r"#SBATCH --([a-z-]+)(?:=(\S+))?", script()))
    assert asked["array"] == "1-8"
    assert asked["signal"].startswith("B:TERM@")
    assert "requeue" in asked
