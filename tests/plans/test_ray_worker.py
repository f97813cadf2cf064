"""A worker on a machine of a cluster: what it refuses, does and tells."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rope_eval
from rope_eval.errors import DataError, StoreError
from rope_eval.hosts.lm_eval.trackers import Tracking
from rope_eval.paths import asset
from rope_eval.plans import ray_worker
from rope_eval.plans.on_ray import _paths
from rope_eval.plans.plan import Plan
from rope_eval.plans.ray_worker import Board, Order, check_machine, work_here
from rope_eval.results.store import Run, Store

MODEL = asset("model_configs") / "lab" / "base-20"
PLAN = f"""\
loading: {{device: cpu, proof: off}}
models: [{MODEL}]
measurements:
  - perplexity: {{books: builtin-chapters, lengths: [32, 64], docs: 2}}
"""


def order(folder: Path, text: str = PLAN, **changes: Any) -> Order:
    file = folder / "plan.yaml"
    file.write_text(text)
    plan = Plan.read(file)
    given: dict[str, Any] = {
        "plan": plan,
        "results": folder / "runs",
        "retry": False,
        "folder": folder,
        "command": ["rope-eval", "run", "plan.yaml", "--ray", "token=hunter2"],
        "version": rope_eval.__version__,
        "witness": None,
        "paths": _paths(plan),
        "tracking": (),
    }
    return Order(**given | changes)


def test_a_machine_that_lacks_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    books, text = tmp_path / "books.txt", PLAN.replace("builtin-chapters", "books.txt")
    books.write_text("a book")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".seen").touch()
    whole = order(tmp_path, text, witness=".seen")
    assert whole.paths == {"books.txt", str(MODEL)}
    monkeypatch.chdir("/")
    check_machine(whole)
    assert Path.cwd() == tmp_path
    with pytest.raises(DataError, match=r"and 0\.0 where the command was given"):
        check_machine(order(tmp_path, text, version="0.0"))
    with pytest.raises(StoreError, match=r"does not see .*runs: give a folder that all machines"):
        check_machine(order(tmp_path, text, witness=".other"))
    check_machine(order(tmp_path, text, results="s3://bucket/runs"))
    books.unlink()
    with pytest.raises(DataError, match=r"has no books\.txt: put it where all machines find it"):
        check_machine(whole)


def test_a_worker_does_the_plan_and_tells_the_board_and_the_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--redis-password=x"])
    monkeypatch.setattr(ray_worker, "TELL_SECONDS", 0)
    logged: list[Run] = []
    monkeypatch.setattr(Tracking, "logger", lambda self: logged.append)
    board = Board()
    handle = SimpleNamespace(tell=SimpleNamespace(remote=board.tell))
    done = work_here(order(tmp_path, tracking=(Tracking(kind="wandb"),)), "1/1", handle)
    assert (done.units, done.cells) == (2, 1)
    (run,) = Store(tmp_path / "runs").runs()
    assert logged == [run]
    assert run.provenance["command"][1:] == ["run", "plan.yaml", "--ray", "token=***"]
    what, part = board.read()
    assert what.startswith("base-20, ") and 0 < part <= 1
    board.tell("an older one", 0.0)
    assert board.read() == ("an older one", part)
