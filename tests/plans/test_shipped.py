"""The plans that ship: each is read, says what it would do, and asks for what the paper shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from lm_eval.tasks import TaskManager

from rope_eval import catalogue
from rope_eval.cli import main
from rope_eval.hosts.lm_eval import evaluate
from rope_eval.paths import asset
from rope_eval.plans.measurements.lm_eval import Task
from rope_eval.plans.measurements.perplexity import Perplexity
from rope_eval.plans.plan import Plan, shipped
from rope_eval.protocols.columns import TASKS
from rope_eval.report.published import published
from rope_eval.theory import critical_dimension

LAB = asset("model_configs") / "lab"
OF_BOOKS = ("table-1", "figure-1", "figure-2", "figure-3", "figure-4", "figure-9", "figure-11")
OF_TASKS = ("table-3", "table-4", "table-5")
ROWS = {"table-1": 3, "table-3": 42, "table-4": 42, "table-5": 41}
ABOUT_100K = (4096, 8192, 16384, 32768, 49152, 65536, 81920, 102400)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be where every row has a checkpoint, a small one, and no data."""
    monkeypatch.chdir(tmp_path)
    owners = [name for name, row in catalogue.load().items() if row.weights_of is None]
    places = {name: str(LAB / "base-20") for name in owners if name.startswith("llama2")}
    Path("checkpoints.yaml").write_text(json.dumps(places))
    real = TaskManager
    monkeypatch.setattr(
        evaluate, "TaskManager", lambda **options: real(**options, include_defaults=False)
    )
    evaluate._manager.cache_clear()
    yield tmp_path
    evaluate._manager.cache_clear()


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(shipped()) == {*OF_BOOKS, *OF_TASKS, "embedded"}
    assert all(len(about) > 40 for about in shipped().values())
    assert main(["list", "plans"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name}  " in f"\n{shown}" for name in shipped())
    assert main(["list", "plans", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["about"] for one in found} == shipped()


@pytest.mark.parametrize("name", OF_TASKS)
def test_a_tables_plan_asks_for_its_rows_and_columns(name: str) -> None:
    plan, table = Plan.read(Path(name)), name[-1]
    rows = {cell.setting.row for cell in plan.cells}
    assert rows == {row.name for row in catalogue.load().values() if table in row.paper}
    assert len(rows) == ROWS[name] == len(published(table).rows)
    tasks = {task.task for cell in plan.cells if isinstance(task := cell.measurement, Task)}
    parts = [part for task in tasks for part in evaluate.parts_of(task)]
    of_columns = [task for column in published(table).columns for task in TASKS["paper"][column]]
    assert sorted(parts) == sorted(of_columns)


@pytest.mark.parametrize("name", OF_BOOKS)
def test_a_figures_plan_asks_for_rows_and_lengths(name: str) -> None:
    plan = Plan.read(Path(name))
    assert not plan.absent
    (measurement,) = {cell.measurement for cell in plan.cells}
    assert isinstance(measurement, Perplexity)
    if name == "table-1":
        assert len(plan.cells) == ROWS[name]
        assert [f"{n // 1024}K" for n in measurement.lengths[:3]] == ["128K", "256K", "512K"]
        assert measurement.lengths[3] == 1024 * 1024
    else:
        assert measurement.lengths == ABOUT_100K


def test_the_bases_are_those_of_the_figures() -> None:
    def bases(name: str) -> dict[str, set[float]]:
        found: dict[str, set[float]] = {}
        for cell in Plan.read(Path(name)).cells:
            size = str(cell.setting.row).partition("/")[0]
            found.setdefault(size, set()).add(cell.setting.rope.rope_theta or 1e4)
        return found

    smaller = {500, 652, 1304, 2608, 1e4}  # of the tables; Figure 3 has 8000 too
    larger = {1e4, 4e4, 8e4, 1.6e5, 4e5, 6e5, 1e6}
    of_16k = {500, 1e4, 4e4, 8e4, 1.2e5, 1e6}
    for size in ("llama2-7b", "llama2-13b"):
        assert bases("figure-2")[size] == larger
        assert bases("figure-3")[size] == smaller | {8000}
        assert bases("figure-4")[size] == smaller | larger
        assert bases("figure-9")[size] == of_16k
    assert bases("figure-11") == {"llama2-7b": smaller | larger - {1e6}}
    cells = Plan.read(Path("figure-11")).cells
    of_7b = len(bases("figure-11")["llama2-7b"]) + 2  # base 1e4 tuned, as it came, and cut
    assert len(cells) == of_7b * 8
    cut = [cell.setting for cell in cells if cell.setting.rope.beyond_critical == "drop"]
    assert [one.row for one in cut] == ["llama2-7b/base-10000-drop"] * 8
    assert {one.rope.log_scale for one in cut} == {False, True}
    assert critical_dimension(128, 4096) == 128 - 36  # appendix B.1: the last 36 are cut


@pytest.mark.parametrize("name", [*OF_BOOKS, *OF_TASKS, "embedded"])
def test_each_says_what_it_would_do(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "It was a bright cold day in April. " * (31000 if name == "table-1" else 3000)
    row = json.dumps({"text": text, "meta": {"pile_set_name": "Books3"}})
    Path("val.jsonl.zst").write_bytes(zstandard.compress(row.encode()))
    assert main(["run", name, "--dry-run"]) in (0, 1)
    *lines, summary = capsys.readouterr().out.rstrip().split("\n")
    cells = Plan.read(Path(name)).cells
    states = [line.split("  ")[1] for line in lines if re.match(r"  \S", line)]
    assert len(states) == len(cells)
    assert set(states) <= {"to do", "cannot"}
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == list(dict.fromkeys(cell.under for cell in cells))
    assert states.count("to do") >= len(cells) * 3 // 4
    assert f"0 of {sum(s == 'to do' for s in states)}" in summary or name not in OF_BOOKS
    assert not (folder / "results").exists()


def test_rows_without_a_checkpoint_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("checkpoints.yaml").write_text(
        json.dumps({"llama2-7b/base-500-16k": str(LAB / "base-20")})
    )
    plan = Plan.read(Path("table-1"))
    assert [cell.setting.row for cell in plan.cells] == [
        "llama2-7b/base-500-16k",
        "llama2-7b/base-500-16k-log",
    ]
    assert list(plan.absent) == ["llama2-7b/base-1000000-16k"]
    assert main(["status", "table-1"]) == 1
    shown = capsys.readouterr().out
    assert "llama2-7b/base-1000000-16k\n  cannot                 -  never released: give" in shown
    assert "2 cells: 2 cannot, and 1 rows without a checkpoint" in shown  # there are no books
    assert "val.jsonl.zst" in shown
