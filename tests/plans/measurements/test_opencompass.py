"""OpenCompass's data sets in a plan, where there is no OpenCompass, and what a process does."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from rope_eval.cli import main
from rope_eval.errors import RopeEvalError, ScoreError, SpecError
from rope_eval.hosts.opencompass import process
from rope_eval.paths import asset
from rope_eval.plans.measurements.opencompass import DataSet
from rope_eval.plans.plan import Plan

MODEL = asset("model_configs") / "lab" / "base-20"
PLAN = f"models: [{MODEL}]\nmeasurements:\n"


def plan(tmp_path: Path, text: str) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN + text)
    return Plan.read(file)


def test_what_is_asked_for(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "  - opencompass: {datasets: [a, b], python: py, max_length: 2k, truncation: right}\n",
    )
    first = DataSet(name="a", python="py", max_length=2048, truncation="right")
    assert made.cells[0].measurement == first
    assert len(made.cells) == 2
    for text, says in (
        ("{}", "datasets is missing"),
        ("{datasets: [a], pyhton: x}", "Did you mean 'python'?"),
        ("{datasets: [a], truncation: lef}", "Did you mean 'left'?"),
    ):
        with pytest.raises(RopeEvalError, match=r"plan\.yaml:3: ") as caught:
            plan(tmp_path, f"  - opencompass: {text}\n")
        assert says in str(caught.value)


@pytest.mark.skipif(find_spec("opencompass") is not None, reason="OpenCompass is here")
def test_without_opencompass_it_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--results", str(tmp_path / "runs")]
    for python, says in (
        ("", "OpenCompass is not in this environment: give python: of one that has it"),
        (f", python: {sys.executable}", "No package metadata was found for opencompass"),
        (", python: /no/python", "/no/python cannot be run"),
    ):
        made = plan(tmp_path, f"  - opencompass: {{datasets: [a]{python}}}\n")
        assert main(["run", str(made.file), *words]) == 2
        said = capsys.readouterr().err
        assert f"{made.file}:3: " in said and says in said and said.count("\n") == 1
        assert main(["run", str(made.file), *words, "--dry-run"]) == 1
        assert says in capsys.readouterr().out


def script(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "command.py"
    file.write_text(text)
    return [sys.executable, str(file)]


def test_a_failure_has_the_reason_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "out" / "1" / "logs" / "infer" / "model" / "a.out"
    log.parent.mkdir(parents=True)
    log.write_text("loading\nTraceback\nSpecError: rope_theta must be above 1\n")
    words = script(tmp_path, "print('failed work'); raise SystemExit(1)")
    with pytest.raises(ScoreError, match="ended with 1: SpecError: rope_theta must be above 1"):
        process._run(words, tmp_path)
    log.unlink()
    with pytest.raises(ScoreError, match="ended with 1: failed work"):
        process._run(words, tmp_path)


def test_an_interrupt_ends_the_processes_that_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    words = script(
        tmp_path,
        "import subprocess, sys, pathlib\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(inner)!r}).write_text(str(one.pid))\n"
        "one.wait()\n",
    )

    def interrupted(self: object, *args: object, **options: object) -> None:
        while not (inner.exists() and inner.read_text()):
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(process.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process._run(words, tmp_path)
    stat = Path(f"/proc/{inner.read_text()}/stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        time.sleep(0.05)
    os.kill(int(inner.read_text()), 9)
    pytest.fail("it lives on")


def test_a_python_without_it_is_named() -> None:
    with pytest.raises(SpecError, match="/no/python cannot be run"):
        process.version_in("/no/python")
