"""The folder for --include_path: what lm-eval itself finds in it, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from helpers import fixtures_paper
from rope_eval.hosts.lm_eval.task_files import task_folder
from rope_eval.paths import asset
from rope_eval.protocols.tasks import MMLU


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return task_folder()


def manager(folder: Path, **metadata: str) -> TaskManager:
    return TaskManager(include_path=str(folder), include_defaults=False, metadata=metadata)


def test_lm_eval_finds_every_task_and_group(folder: Path) -> None:
    found = manager(folder)
    by_hand = {file.stem for file in asset("tasks").glob("*.yaml")}
    assert by_hand < set(found.all_tasks)
    ours = {name for name in found.all_tasks if name.startswith(("rope_paper", "rope_leval"))}
    assert len(ours) == 82 + 5 + 6 and set(found.all_tasks) == by_hand | ours
    groups = {name for name in found.all_groups if name in ours}
    parts = ("", "_short", "_super_glue", "_mmlu", "_leval")
    assert groups == {f"rope_paper{part}" for part in parts} | {"rope_leval"}


def test_a_group_holds_its_tasks_and_a_task_is_found_alone(folder: Path, tmp_path: Path) -> None:
    data = fixtures_paper.write(tmp_path)
    found = manager(folder, data_dir=str(data))
    loaded = found.load(["rope_paper"])
    assert len(loaded["tasks"]) == 82
    assert loaded["group_map"]["rope_paper"] == [
        "rope_paper_short",
        "rope_paper_mmlu",
        "rope_paper_leval",
    ]
    short = loaded["group_map"]["rope_paper_short"]
    assert short[:3] == ["rope_paper_lambada", "rope_paper_super_glue", "rope_paper_hellaswag"]
    subjects = [f"rope_paper_mmlu_{subject}" for subject in MMLU]
    assert loaded["group_map"]["rope_paper_mmlu"] == subjects
    for name, group in loaded["groups"].items():
        one_column = name in ("rope_paper_mmlu", "rope_paper_super_glue")
        weights = [metric.weight_by_size for metric in group.aggregate_metric_list or ()]
        assert weights == ([False] if one_column else []), name
    (task,) = found.load(["rope_paper_mmlu_astronomy"])["tasks"].values()
    assert task.config.metadata["data"] == "cais/mmlu astronomy test"
    assert task.config.task == "rope_paper_mmlu_astronomy" and task.config.num_fewshot == 5


def test_a_group_goes_without_what_is_missing(folder: Path, tmp_path: Path) -> None:
    fixtures_paper.write(tmp_path, leave_out=("leval/tpo", "mmlu/anatomy_test"))
    tasks = manager(folder, data_dir=str(tmp_path)).load(["rope_paper"])["tasks"]
    missing = {name for name, task in tasks.items() if "missing" in task.config.metadata}
    assert missing == {"rope_paper_toefl", "rope_paper_mmlu_anatomy"}
