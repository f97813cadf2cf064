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
from rope_eval.plans.failures import Failures
from rope_eval.plans.on_ray import _paths
from rope_eval.plans.plan import Plan
from rope_eval.plans.ray_worker import MOST_LOST, Board, Order, check_machine, work_here
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


def handle_of(board: Board, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a board as Ray hands it out, whose answers are there at once."""
    ray = SimpleNamespace(get=lambda answer, timeout: answer)
    monkeypatch.setitem(sys.modules, "ray", ray)
    return SimpleNamespace(
        tell=SimpleNamespace(remote=board.tell), begin=SimpleNamespace(remote=board.begin)
    )


def test_what_workers_were_lost_at_is_counted() -> None:
    board = Board()
    assert board.begin("1/2", "a", "one") == 0
    assert board.begin("1/2", "a", "two") == 0  # it came to the end of one
    assert board.begin("1/2", "b", "one") == 0
    assert board.begin("1/2", "b", "two") == 1
    assert board.begin("2/2", "c", "two") == 1
    assert board.begin("2/2", "d", "two") == 2
    board.begin("1/2", "b", "")
    board.begin("1/2", "e", "two")
    assert board.lost["two"] == 2 and sum(board.lost.values()) == 2


def test_a_cell_at_which_workers_were_lost_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked, board = order(tmp_path, retry=True), Board()
    (cell,) = asked.plan.cells
    for life in ("a", "b", "c"):
        board.begin("1/1", life, str(cell))
    done = work_here(asked, "1/1", handle_of(board, monkeypatch))
    assert done.units == 0 and list(done.failed) == [str(cell)]
    assert done.failed[str(cell)].startswith(f"{MOST_LOST} workers were lost while they were at")
    assert Failures(Store(asked.results)).read(cell) == done.failed[str(cell)]


def test_a_worker_does_the_plan_and_tells_the_board_and_the_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["default_worker.py", "--redis-password=x"])
    monkeypatch.setattr(ray_worker, "TELL_SECONDS", 0)
    logged: list[Run] = []
    monkeypatch.setattr(Tracking, "logger", lambda self: logged.append)
    board = Board()
    handle = handle_of(board, monkeypatch)
    done = work_here(order(tmp_path, tracking=(Tracking(kind="wandb"),)), "1/1", handle)
    assert (done.units, done.cells) == (2, 1)
    (run,) = Store(tmp_path / "runs").runs()
    assert logged == [run]
    assert run.provenance["command"][1:] == ["run", "plan.yaml", "--ray", "token=***"]
    what, part = board.read()
    assert what.startswith("base-20, ") and 0 < part <= 1
    board.tell("an older one", 0.0)
    assert board.read() == ("an older one", part)
