"""RULER's effective length: the published table's, and what a table of the store has of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import lm_eval_files
from rope_eval.errors import SpecError
from rope_eval.hosts.lm_eval.evaluate import parts_of
from rope_eval.report.formats import Table
from rope_eval.report.ruler import MEAN, TASKS, effective_length, effective_text
from rope_eval.report.stored import stored_table
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Store

LENGTHS = (4096, 8192, 16384, 32768, 65536, 131072)
PUBLISHED = {  # the main results in the README of RULER's repository
    "GPT-4-1106-preview": ((96.6, 96.3, 95.2, 93.2, 87.0, 81.2), 65536),
    "Command-R-plus": ((95.6, 95.2, 94.2, 92.0, 84.3, 63.1), 32768),
    "GLM-4-chat": ((94.7, 92.8, 92.1, 89.9, 86.7, 83.1), 65536),
    "GradientAI/Llama3": ((95.2, 93.4, 93.4, 89.4, 82.6, 72.0), 32768),
    "Gemini-1.5-pro": ((96.7, 95.8, 96.0, 95.9, 95.9, 94.4), 131072),
    "Llama2": ((85.6,), None),  # the threshold itself does not exceed it
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def put(store: Store, length: int, scores: dict[str, float], model: str, stamp: int) -> None:
    folder = store.root.parent / f"out{stamp}"
    lm_eval_files.write(
        folder,
        {task: (score, 20) for task, score in scores.items()},
        metrics=dict.fromkeys(scores, f"{length},none"),
        model_args=f"pretrained={model}",
        date=1000.0 + stamp,
    )
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)


def means(table: Table) -> dict[str, tuple[str, ...]]:
    """Return a table's rows of the mean, by the model."""
    return {
        str(row[0]): tuple("" if cell is None else str(cell) for cell in row[3:])
        for row in table.rows
        if row[1] == MEAN
    }


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_effective_lengths(model: str) -> None:
    scores, length = PUBLISHED[model]
    assert effective_length(dict(zip(LENGTHS, scores, strict=False))) == length


def test_a_failure_below_does_not_count() -> None:
    assert effective_length({4096: 80.0, 8192: 90.0, 16384: 70.0}) == 8192
    assert effective_text({8192: 90.0, 4096: 80.0}) == "at least 8K"


def test_the_tasks_are_those_of_the_group() -> None:
    assert parts_of("ruler") == TASKS


def test_a_table_has_the_mean_and_the_effective_length(store: Store) -> None:
    half = {task: 0.8 + 0.2 * (i % 2) for i, task in enumerate(TASKS)}  # seven of 0.8, six of 1
    put(store, 4096, half, "a/b", 0)
    put(store, 8192, half | {"ruler_vt": 0.15}, "a/b", 1)
    put(store, 16384, dict(list(half.items())[:12]), "a/b", 2)
    put(store, 4096, dict.fromkeys(TASKS, 0.5), "x/y", 3)
    table = stored_table(store, "ruler")
    assert table.columns == ("4K", "8K", "16K", "effective")
    first = (7 * 0.8 + 6) / 13
    assert means(table) == {
        "a/b": (f"{first:.4f}", f"{first - 0.65 / 13:.4f}", "", "4K"),
        "x/y": ("0.5000", "", "", "below 4K"),
    }
    assert table.rows[-1][1] == MEAN
    assert (
        "effective: the longest of these lengths whose mean of 13 tasks exceeds 85.6 %"
        in table.caption
    )
    assert means(stored_table(store, "ruler", threshold=84.0))["a/b"][-1] == "at least 8K"
    assert means(stored_table(store, "ruler", threshold=49.0))["x/y"][-1] == "at least 4K"


def test_what_is_said_of_a_task_is_said_of_the_mean(store: Store) -> None:
    put(store, 4096, dict.fromkeys(TASKS, 1.0), "a/b", 0)
    folder = store.root.parent / "cut"
    lm_eval_files.write(
        folder,
        {"ruler_vt": (0.5, 20)},
        metrics={"ruler_vt": "4096,none"},
        model_args="pretrained=a/b",
        date=2000.0,
        cut_prompts={"ruler_vt": {"cut": 7, "of": 20}},
    )
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)
    caption = stored_table(store, "ruler").caption
    assert "† 7 of 20 prompts were cut: a/b, ruler_vt, score (4K)." in caption
    assert "† ruler_vt: 7 of 20 prompts were cut: a/b, mean of 13 tasks, score (4K)." in caption


@pytest.mark.parametrize(
    ("name", "threshold", "message"),
    [
        ("retrieval", 85.0, "a threshold is of the table ruler, not of retrieval"),
        ("ruler", 100.0, "a percentage between 0 and 100, got 100"),
        ("ruler", 0.0, "a percentage between 0 and 100, got 0"),
    ],
)
def test_bad_thresholds(store: Store, name: str, threshold: float, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        stored_table(store, name, threshold=threshold)
