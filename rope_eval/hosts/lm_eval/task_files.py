"""The folder for lm-eval's --include_path: the files of tasks/, and those of the protocols.

lm-eval 0.4.13 knows a task by a YAML file of its own (a task that stands inside a group's file is
no task of another's class, and has no name on the command line). The protocols' tasks differ in
names alone, so their files are written from prompts.yaml when they are asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rope_eval.paths import asset, cached
from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.tasks import GROUPS, OWN_PROTOCOLS, Task, group_name, tasks_of

_CLASS = "class: !function rope_eval.hosts.lm_eval.paper_tasks.PaperTask\n"


def task_folder() -> Path:
    """Return the folder, and write what it lacks.

    Raises:
        StoreError: where the user's cache cannot be written.
    """
    tasks = asset("tasks")
    own = {file.name: file.read_text(encoding="utf-8") for file in tasks.rglob("*.yaml")}
    return cached("lm-eval-tasks", own | protocol_files())


def protocol_files() -> dict[str, str]:
    """Return the files of the protocols' tasks and groups: their texts by their names."""
    files = {}
    for protocol in OWN_PROTOCOLS:
        for entry in PROMPTS[protocol]:
            for task in tasks_of(protocol, entry):
                files[f"{task.name}.yaml"] = _CLASS + yaml.safe_dump(_task(task), sort_keys=False)
    members = dict(GROUPS)
    members["paper", "mmlu"] = ()
    for protocol, group in members:
        name = group_name(protocol, group)
        files[f"{name}.yaml"] = yaml.safe_dump(_group(protocol, group), sort_keys=False)
    return files


def _task(task: Task) -> dict[str, Any]:
    fields = {"task": task.name, "protocol": task.protocol, "entry": task.entry}
    return (
        fields | ({"subject": task.subject} if task.subject else {}) | {"metadata": {"version": 1}}
    )


def _group(protocol: str, group: str) -> dict[str, Any]:
    if group == "mmlu":
        names = [task.name for task in tasks_of(protocol, group)]
    else:
        names = [group_name(protocol, member) for member in GROUPS[protocol, group]]
    # a group that is one column has its score, the plain mean of its parts
    mean = {"aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}]}
    return (
        {"group": group_name(protocol, group), "task": names}
        | (mean if group in ("mmlu", "super_glue") else {})
        | {"missing_data": "skip", "metadata": {"version": 1}}
    )
