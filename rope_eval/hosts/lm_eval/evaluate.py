"""Tasks of lm-eval on a loaded model, read as `rope-eval import` reads lm-eval's own files."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from rope_eval.errors import DataError, did_you_mean
from rope_eval.hosts.lm_eval.kept_data import keep_data, seeded
from rope_eval.hosts.lm_eval.task_files import task_folder
from rope_eval.results.imports import Imported, read_lm_eval


def parts_of(
    task: str, metadata: Mapping[str, Any] | None = None, include_path: str | None = None
) -> tuple[str, ...]:
    """Return the tasks of a group, in its order, or a task's own name; no data set is loaded.

    Args:
        task: a task's, group's or tag's name, of lm-eval's or of this package's.
        metadata: what the task takes.
        include_path: a folder with files of more tasks, as lm-eval's own option.

    Raises:
        DataError: for a task or a folder that is not there.
    """
    manager = _manager(_text(metadata), include_path)
    if task not in manager.all_tasks:
        raise DataError(
            f"lm-eval has no task {task!r}.{did_you_mean(task, manager.all_tasks)} "
            "`rope-eval lm-eval ls tasks` shows them all"
        )
    return tuple(dict.fromkeys(_leaves(task, manager)))


def _leaves(name: str, manager: TaskManager, group: str = "") -> Iterator[str]:
    """Yield the names that lm-eval gives to the tasks of a task, a tag or a group."""
    entry = manager.task_index.get(name)
    if entry is None:
        yield f"{group}::{name}"  # defined within its group
    elif name in manager.all_tags:
        yield from sorted(entry.tags)
    elif name in manager.all_groups:
        yield from _members((entry.cfg or {}).get("task"), manager, name)
    else:
        yield name


def _members(members: Any, manager: TaskManager, group: str) -> Iterator[str]:
    for member in members if isinstance(members, list) else []:
        if isinstance(member, str):
            yield from _leaves(member, manager, group)
        elif (inner := member.get("group")) is None:
            if "task" not in member:
                raise DataError(f"lm-eval's group {group} has a member without a name: {member}")
            yield from _leaves(member["task"], manager, group)
        elif inner in manager.all_groups:
            yield from _leaves(inner, manager, group)
        else:
            yield from _members(member.get("task"), manager, f"{group}::{inner}")


def load_tasks(
    task: str, metadata: Mapping[str, Any] | None = None, include_path: str | None = None
) -> dict[str, Task]:
    """Return the tasks of `parts_of` by their names, with what their group says of them.

    What RULER makes up for them is the same in every process, and built once.

    Args:
        task: as for `parts_of`.
        metadata: as for `parts_of`.
        include_path: as for `parts_of`.

    Raises:
        DataError: for a task that is not there.
        RopeEvalError: any other of its kinds, of the tasks of this package.
    """
    names = parts_of(task, metadata, include_path)
    with seeded():
        manager = _manager(_text(metadata), include_path)
        found: dict[str, Task] = manager.load([task])["tasks"]
    return {name: found[name] for name in names}


def evaluate(
    lm: LM,
    task: Task,
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    include_path: str | None = None,
) -> Imported:
    """Run a task, and return what `rope-eval import` would make of its files.

    Args:
        lm: the model.
        task: one of `load_tasks`.
        limit: the first so many items; None for all.
        num_fewshot: examples before each; None for the task's own number.
        metadata: what the task takes.
        include_path: as for `parts_of`.

    Raises:
        RopeEvalError: of the kind that fits, of the model and the tasks of this package.
    """
    with tempfile.TemporaryDirectory() as folder:
        tracker = EvaluationTracker(output_path=folder)
        found = simple_evaluate(
            lm,
            tasks=[task],
            task_manager=_manager(_text(metadata), include_path),
            limit=limit,
            num_fewshot=num_fewshot,
            metadata=dict(metadata or {}),
            evaluation_tracker=tracker,
            bootstrap_iters=0,
        )
        samples = found.pop("samples")
        tracker.save_results_aggregated(results=found, samples=samples)
        for name in found["configs"]:
            tracker.save_results_samples(task_name=name, samples=samples[name])
        (imported,) = read_lm_eval(Path(folder))
    return imported


def _text(metadata: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(metadata or {}), sort_keys=True)


@functools.lru_cache(maxsize=8)
def _manager(metadata: str, include_path: str | None = None) -> TaskManager:
    """Return lm-eval's index of tasks; making one reads thousands of files."""
    if include_path is not None and not Path(include_path).is_dir():
        raise DataError(f"there is no folder {include_path} with files of tasks")
    folders = [str(task_folder()), *([include_path] if include_path else [])]
    return TaskManager(include_path=folders, metadata=json.loads(metadata))


keep_data()
