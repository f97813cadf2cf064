"""One task of lm-eval on a loaded model, read as `rope-eval import` reads lm-eval's own files."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from rope_eval.errors import DataError, did_you_mean
from rope_eval.hosts.lm_eval.task_files import task_folder
from rope_eval.results.imports import Imported, read_lm_eval


def evaluate(
    lm: LM,
    task: str,
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Imported:
    """Run a task or a group, and return what `rope-eval import` would make of its files.

    Args:
        lm: the model.
        task: its name, of lm-eval's or of this package's.
        limit: the first so many items of each task; None for all.
        num_fewshot: examples before each; None for the task's own number.
        metadata: what the task takes.

    Raises:
        DataError: for a task that is not there.
        RopeEvalError: any other of its kinds, of the model and the tasks of this package.
    """
    given = dict(metadata or {})
    manager = _manager(json.dumps(given, sort_keys=True))
    if task not in manager.all_tasks:
        raise DataError(
            f"lm-eval has no task {task!r}.{did_you_mean(task, manager.all_tasks)} "
            "`rope-eval lm-eval ls tasks` shows them all"
        )
    with tempfile.TemporaryDirectory() as folder:
        tracker = EvaluationTracker(output_path=folder)
        found = simple_evaluate(
            lm,
            tasks=[task],
            task_manager=manager,
            limit=limit,
            num_fewshot=num_fewshot,
            metadata=given,
            evaluation_tracker=tracker,
            bootstrap_iters=0,
        )
        samples = found.pop("samples")
        tracker.save_results_aggregated(results=found, samples=samples)
        for name in found["configs"]:
            tracker.save_results_samples(task_name=name, samples=samples[name])
        (imported,) = read_lm_eval(Path(folder))
    return imported


@functools.lru_cache(maxsize=8)
def _manager(metadata: str) -> TaskManager:
    """Return lm-eval's index of tasks; making one reads thousands of files."""
    return TaskManager(include_path=str(task_folder()), metadata=json.loads(metadata))
