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
from rope_eval.hosts.opencompass.process import Session, parts_in, version_in
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


def session(tmp_path: Path, text: str) -> Session:
    """Return a session of another program in the place of OpenCompass."""
    file = tmp_path / "command.py"
    file.write_text("import json, os, pathlib, sys\n" + text)
    made = Session(sys.executable, "a", {"path": "me/model"})
    made._words = [sys.executable, str(file)]
    return made


def test_a_part_is_read_where_opencompass_wrote_it(tmp_path: Path) -> None:
    text = (
        "for line in sys.stdin:\n"
        "    part = json.loads(line)\n"
        "    found = {'results': {'accuracy': 25.0, 'n': 4}, 'predictions': {'0': 1}}\n"
        "    for kind, what in found.items():\n"
        "        file = pathlib.Path(sys.argv[1], 'out', kind, 'm', part + '.json')\n"
        "        file.parent.mkdir(parents=True, exist_ok=True)\n"
        "        file.write_text(json.dumps(what))\n"
        "    print(json.dumps({} if part == 'b' else {'error': 'no ' + part}), flush=True)\n"
    )
    with session(tmp_path, text) as opened:
        found = opened.measure("b")
        assert found.tasks["b"]["metrics"] == {"accuracy,opencompass": 25.0, "n,opencompass": 4}
        assert found.tasks["b"]["n"] == 1
        with pytest.raises(ScoreError, match=r"^no a$"):
            opened.measure("a")
        first = opened._process
        assert opened.measure("b") == found and opened._process is first
        folder = opened._folder
    assert not folder.exists()


def test_a_process_that_ends_is_said_with_its_reason_and_another_goes_on(tmp_path: Path) -> None:
    text = (
        "print('loading\\nSpecError: rope_theta must be above 1\\nbye', file=sys.stderr)\n"
        "raise SystemExit(3)\n"
    )
    with session(tmp_path, text) as opened:
        for _ in range(2):
            with pytest.raises(ScoreError, match=r"ended with 3: SpecError: rope_theta must be ab"):
                opened.measure("a")


def test_an_interrupt_ends_the_processes_that_were_started(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    text = (
        "import subprocess\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(inner)!r}).write_text(str(one.pid))\n"
        "one.wait()\n"
    )
    with pytest.raises(KeyboardInterrupt), session(tmp_path, text) as opened:
        opened._start()
        while not (inner.exists() and inner.read_text()):
            time.sleep(0.05)
        raise KeyboardInterrupt
    stat = Path(f"/proc/{inner.read_text()}/stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return
        time.sleep(0.05)
    os.kill(int(inner.read_text()), 9)
    pytest.fail("it lives on")


def test_the_parts_of_our_own_data_sets(tmp_path: Path) -> None:
    assert parts_in("no/python", "rope_paper_piqa") == ["rope_paper_piqa"]
    assert len(parts_in("no/python", "rope_paper_mmlu")) == 57
    (tmp_path / "super_glue").mkdir()
    (tmp_path / "super_glue" / "boolq.jsonl").touch()
    assert parts_in("no/python", "rope_paper_super_glue", str(tmp_path)) == ["rope_paper_boolq"]
    with pytest.raises(SpecError, match="whole books are the measurement perplexity"):
        parts_in("no/python", "rope_builtin_cumulative")


def test_a_python_without_it_is_named() -> None:
    with pytest.raises(SpecError, match="/no/python cannot be run"):
        version_in("/no/python")
