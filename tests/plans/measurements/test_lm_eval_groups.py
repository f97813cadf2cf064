"""Groups of lm-eval in a plan: a unit is one of a group's tasks, and the run is an import's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from rope_eval.cli import main
from rope_eval.errors import DataError
from rope_eval.hosts.lm_eval import evaluate
from rope_eval.hosts.lm_eval.model import ScalingRopeLM
from rope_eval.paths import asset
from rope_eval.plans import survey
from rope_eval.plans.plan import Plan
from rope_eval.plans.worker import work
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Store

MODEL = asset("model_configs") / "lab" / "base-20"
QUESTIONS = [
    {"question": "The sky is", "choices": [" blue", " green"], "answer": 0},
    {"question": "Grass is", "choices": [" red", " green"], "answer": 1},
    {"question": "Snow is", "choices": [" white", " black"], "answer": 0},
]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{before}{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
tag: small_tag
"""
GROUP = """\
group: small_group
task:
  - first
  - task: second
    doc_to_text: "Say: {{question}}"
  - group: inner
    task: [third]
"""
NAMES = ("first", "second", "third")
PLAN = f"""\
loading: {{device: cpu}}
models: [{MODEL}]
measurements:
  - lm_eval: {{tasks: [small_group], limit: 2}}
"""


@pytest.fixture(autouse=True)
def _own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    for name in NAMES:
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=data, before=f"{name} "))
    (folder / "group.yaml").write_text(GROUP)
    monkeypatch.setattr(evaluate, "TaskManager", lambda **options: manager(tmp_path))
    evaluate._manager.cache_clear()


def manager(tmp_path: Path) -> TaskManager:
    return TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)


def plan(tmp_path: Path, text: str = PLAN) -> Plan:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return Plan.read(file)


def imported_whole(tmp_path: Path) -> Any:
    """Return what `rope-eval import` makes of lm-eval's own run of the group."""
    tracker = EvaluationTracker(output_path=str(tmp_path / "own"))
    with ScalingRopeLM(pretrained=str(MODEL), device="cpu") as lm:
        found = simple_evaluate(
            lm,
            tasks=["small_group"],
            task_manager=manager(tmp_path),
            limit=2,
            bootstrap_iters=0,
            evaluation_tracker=tracker,
        )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for name in found["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
    (imported,) = read_lm_eval(tmp_path / "own")
    return imported


def test_a_groups_tasks_are_units_and_its_run_is_an_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = plan(tmp_path), Store(tmp_path / "runs")
    assert evaluate.parts_of("small_group") == NAMES
    assert evaluate.parts_of("small_tag") == NAMES
    assert tuple(evaluate.load_tasks("small_group")) == NAMES
    real = evaluate.evaluate

    def out_of_memory(lm: Any, task: Any, **options: Any) -> Any:
        if task.task_name == "second":
            raise MemoryError("no room")
        return real(lm, task, **options)

    monkeypatch.setattr(evaluate, "evaluate", out_of_memory)
    done = work(made, store)
    assert list(done.failed.values()) == ["second: MemoryError: no room"]
    (standing,) = survey.survey(made, store)
    assert (standing.state, standing.stored, standing.units) == ("failed", 2, 3)
    monkeypatch.undo()
    monkeypatch.setattr(evaluate, "TaskManager", lambda **options: manager(tmp_path))
    again = work(made, store, retry=True)
    assert (again.units, again.cells) == (1, 1)
    (run,) = store.runs()
    whole = imported_whole(tmp_path)
    assert list(run.results["tasks"]) == list(NAMES)
    own = whole.run.results
    for name in ("tasks", "protocols", "prompting", "row", "dtype"):
        assert run.results[name] == own[name]
    arrays = store.arrays(run.key)
    assert arrays.keys() == whole.arrays.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in whole.arrays.items())
    assert run.results["tasks"]["second"]["n"] == 2
    assert work(made, store).units == 0


def test_a_misspelt_task_is_found_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"no task 'frist'\. Did you mean 'first'"):
        evaluate.parts_of("frist")
    text = PLAN.replace("measurements:", "measurements:\n  - perplexity: {lengths: [64], docs: 1}")
    made = plan(tmp_path, text.replace("small_group", "first, frist"))
    words = [str(made.file), "--results", str(tmp_path / "runs")]
    assert main(["run", *words]) == 2
    said = capsys.readouterr().err
    assert f"{made.file}:5: lm-eval has no task 'frist'. Did you mean 'first'?" in said
    assert not (tmp_path / "runs").exists()
    assert main(["run", *words, "--dry-run"]) == 1
    said = capsys.readouterr().out
    assert "cannot" in said and "Did you mean 'first'?" in said
