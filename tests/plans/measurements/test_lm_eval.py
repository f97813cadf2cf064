"""lm-eval's tasks in a plan: the scores of lm-eval itself, stored as an import is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from rope_eval.errors import DataError, SpecError
from rope_eval.hosts.lm_eval import evaluate
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.paths import asset
from rope_eval.plans import survey
from rope_eval.plans.measurements.lm_eval import Task
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results import frame
from rope_eval.results.store import Store

LAB = asset("model_configs") / "lab"
METADATA = {"lengths": [32, 64]}
PLAN = f"""\
loading: {{device: cpu}}
models: [{LAB}/base-20]
settings: [{{}}, {{rope_theta: 1e6}}]
measurements:
  - lm_eval: {{tasks: [builtin_cumulative, nosuch], limit: 1, metadata: {{lengths: [32, 64]}}}}
  - perplexity: {{books: builtin-chapters, lengths: [32], docs: 1}}
"""


@pytest.fixture(autouse=True)
def _own_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out lm-eval's own tasks: reading their files takes seconds."""
    monkeypatch.setattr(
        evaluate,
        "TaskManager",
        lambda **options: TaskManager(**options, include_defaults=False),
    )
    evaluate._manager.cache_clear()


def test_a_task_is_lm_evals_own_score(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    plan, store = Plan.read(file), Store(tmp_path / "runs")
    done = work(plan, store)
    assert (done.units, done.cells, done.loads, len(done.failed)) == (4, 4, 1, 2)
    assert all("no task 'nosuch'" in why for why in done.failed.values())
    runs = [run for run in store.runs() if run.kind == "lm_eval"]
    assert len(runs) == 2
    manager = TaskManager(
        include_path=str(asset("tasks")), include_defaults=False, metadata=METADATA
    )
    for run, spec in zip(runs, ({}, {"rope_theta": 1e6}), strict=True):
        lm = ScalingRopeLM(pretrained=str(LAB / "base-20"), device="cpu", **spec)
        with lm:
            own = simple_evaluate(
                lm, tasks=["builtin_cumulative"], task_manager=manager, limit=1, bootstrap_iters=0
            )
        theirs = own["results"]["builtin_cumulative"]
        found = run.results["tasks"]["builtin_cumulative"]
        assert found["metrics"] == {name: theirs[name] for name in found["metrics"] if "," in name}
        assert found["metrics"]["perplexity@64,none"] > 1
        assert run.request["rope"] == spec
        assert run.provenance["ran"][0]["dtype"] == "float32"
        arrays = store.arrays(run.key)
        assert all(np.isfinite(a).all() for name, a in arrays.items() if not name.endswith("docs"))
    rows = frame(store)
    of_tasks = rows[rows["kind"] == "lm_eval"]
    assert set(of_tasks["task"]) == {"builtin_cumulative"}
    assert of_tasks["row"].nunique() == 2
    again = work(plan, store)
    assert (again.units, again.loads) == (0, 0)
    assert [one.state for one in survey.survey(plan, store)] == ["done", "failed", "done"] * 2


def test_retrieval_is_a_task_with_its_lengths(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"models: [{LAB}/base-20]\n"
        "measurements:\n  - retrieval: {lengths: [300, 1k], depths: [0.5], samples: 2}\n"
    )
    (cell,) = Plan.read(file).cells
    assert cell.measurement == Task(
        task="retrieval",
        max_length=1024,
        metadata={"lengths": [300, 1024], "depths": [0.5], "samples": 2},
    )


def test_retrieval_by_distance_is_a_task_with_its_range(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    asked = "{distances: [300, 1k], bins: 4, samples: 8}"
    file.write_text(f"models: [{LAB}/base-20]\nmeasurements:\n  - retrieval: {asked}\n")
    (cell,) = Plan.read(file).cells
    assert cell.measurement == Task(
        task="retrieval_distances",
        max_length=1024,
        metadata={"distances": [300, 1024], "bins": 4, "samples": 8},
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("{samples: 8}", r"plan.yaml:3: lengths is missing.*or distances: \[128, 4k\]"),
        ("{distances: [64, 128], depths: [0]}", "depths has no meaning beside distances"),
        ("{distances: [64, 128], lengths: [64]}", "lengths has no meaning beside distances"),
        ("{lengths: [64], bins: 2}", "bins has no meaning without distances"),
        ("{distances: [64, 128, 256]}", "must be the shortest and the longest"),
        ("{distances: [128, 64]}", "lengths must"),
        ("{distance: [64, 128]}", "[Dd]id you mean 'distances'"),
    ],
)
def test_retrieval_that_makes_no_sense(tmp_path: Path, asked: str, message: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(f"models: [{LAB}/base-20]\nmeasurements:\n  - retrieval: {asked}\n")
    with pytest.raises(SpecError, match=message):
        Plan.read(file)


def test_tasks_of_ones_own_count_by_their_files(tmp_path: Path) -> None:
    tasks, file, store = tmp_path / "tasks", tmp_path / "plan.yaml", Store(tmp_path / "runs")
    tasks.mkdir()
    own = (asset("tasks") / "builtin_cumulative.yaml").read_text(encoding="utf-8")
    (tasks / "mine.yaml").write_text(own.replace("task: builtin_cumulative", "task: mine"))
    file.write_text(
        f"loading: {{device: cpu}}\nmodels: [{LAB}/base-20]\nmeasurements:\n  - lm_eval:\n"
        f"      {{tasks: [mine], limit: 1, metadata: {{lengths: [32]}}, include_path: {tasks}}}\n"
    )
    plan = Plan.read(file)
    plan.check()
    assert work(plan, store).units == 1
    (run,) = store.runs()
    assert list(run.results["tasks"]) == ["mine"]
    assert [one.state for one in survey.survey(plan, store)] == ["done"]
    (tasks / "mine.yaml").write_text((tasks / "mine.yaml").read_text() + "# another\n")
    assert [one.state for one in survey.survey(plan, store)] == ["to do"]
    file.write_text(file.read_text().replace(str(tasks), str(tmp_path / "none")))
    with pytest.raises(DataError, match=r"there is no folder .*none with files of tasks"):
        Plan.read(file).check()
