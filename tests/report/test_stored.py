"""A table of any measurement in the store: values by hand, in the place that they belong to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from helpers import lm_eval_files
from rope_eval.errors import SpecError
from rope_eval.report import measured
from rope_eval.report.formats import Table
from rope_eval.report.runs import rows_of
from rope_eval.report.stored import stored_table
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def put(store: Store, scores: dict[str, dict[str, float]], n: int = 5, **given: Any) -> None:
    """Store tasks with any metrics, as lm-eval writes them."""
    folder = store.root.parent / f"out{len(list(store.root.parent.glob('out*')))}"
    file = lm_eval_files.write(folder, dict.fromkeys(scores, (0.0, n)), **given)
    text = file.read_text()
    for task, metrics in scores.items():
        old = f'"alias": "{task}", "acc,none": 0.0'
        assert old in text
        new = ", ".join(f'"{name}": {"NaN" if math.isnan(v) else v}' for name, v in metrics.items())
        text = text.replace(old, f'"alias": "{task}", {new}')
    file.write_text(text)
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)


def cells(table: Table) -> list[tuple[str, ...]]:
    return [tuple("" if cell is None else str(cell) for cell in row) for row in table.rows]


def test_ruler_by_length(store: Store) -> None:
    put(
        store,
        {
            "niah_single_1": {"4096,none": 1.0, "8192,none": 0.25, "16384,none": -1},
            "ruler_vt": {"4096,none": 0.5},
            "piqa": {"acc,none": 0.75},
        },
    )
    table = stored_table(store, "ruler")
    assert table.header == ("model", "task", "metric", "4K", "8K", "16K")
    assert cells(table) == [
        ("me/model", "niah_single_1", "score", "1.0000", "0.2500", ""),
        ("me/model", "ruler_vt", "score", "0.5000", "", ""),
    ]
    assert table.caption.splitlines() == [
        "Measured: ruler, numbers as recorded.",
        "its length was not run: me/model, niah_single_1, score (16K).",
        "not run: me/model, ruler_vt, score (8K, 16K).",
    ]
    assert table.best is None


def test_retrieval_and_any_task(store: Store) -> None:
    put(store, {"retrieval": {"accuracy@1024,none": 0.8, "nll@1024,none": 1.25}})
    put(store, {"arc_easy": {"acc,none": 0.3, "acc_norm,none": math.nan}}, n_all=2376, date=2000.0)
    assert cells(stored_table(store, "retrieval")) == [
        ("me/model", "retrieval", "accuracy", "0.8000"),
        ("me/model", "retrieval", "nll", "1.2500"),
    ]
    table = stored_table(store, "arc_*,retr*", "acc")
    assert cells(table) == [("me/model", "arc_easy", "acc", "0.3000")]
    assert "† 5 of 2376 items: me/model, arc_easy, acc (value)." in table.caption
    assert table.marks == {(0, 3)}
    table = stored_table(store, "tasks")
    assert table.columns == ("1K", "value")
    assert cells(table)[-1] == ("me/model", "arc_easy", "acc_norm", "", "")
    assert "its score is not a number: me/model, arc_easy, acc_norm (value)." in table.caption


def test_the_newest_and_what_was_not_asked_alike(store: Store) -> None:
    put(store, {"piqa": {"acc,none": 0.1}}, date=3.0)
    put(store, {"piqa": {"acc,none": 0.2}}, date=2.0)
    put(store, {"piqa": {"acc,none": 0.3}}, model_args="pretrained=x/y,dtype=float16", date=1.0)
    put(store, {"piqa": {"acc,none": 0.3}}, model_args="pretrained=x/z,dtype=float32", date=0.5)
    table = stored_table(store, "piqa")
    assert {row[0]: row[3] for row in cells(table)} == {
        "me/model": "0.1000",
        "x/y": "0.3000",
        "x/z": "0.3000",
    }
    assert "† the newest of runs that differ: me/model, piqa, acc (value)." in table.caption
    assert "not asked alike: dtype float16: x/y (piqa)." in table.caption


def test_cumulative_results_of_lm_eval_are_in_table_1(store: Store) -> None:
    scores = {"pg19_cumulative": {"perplexity@131072,none": 8.5, "accuracy@131072,none": 0.5}}
    put(store, scores, n=3)
    put(store, {"pg19_cumulative": {"perplexity@131072,none": 9.5}}, n=3, date=2000.0)
    table = measured.table_of(rows_of(store), "1")
    assert table.columns == ("128K",)
    assert [row[3] for row in cells(table)] == ["8.50", "9.50"]  # nothing says: the same books
    books = [row[2] for row in cells(table)]
    assert all(name.startswith("pg19_cumulative (3 documents, ") for name in books)
    assert all(name.endswith("), lm-eval") for name in books)
    assert cells(stored_table(store, "perplexity"))[0][:3] == (
        "me/model",
        "pg19_cumulative",
        "perplexity",
    )


def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(
        SpecError, match="nothing for the table 'ruler': measure or import it first"
    ):
        stored_table(store, "ruler")
    put(store, {"piqa": {"acc,none": 0.1}})
    with pytest.raises(SpecError, match="Did you mean 'piqa'"):
        stored_table(store, "piqua")
    with pytest.raises(SpecError, match="with metric 'f1'"):
        stored_table(store, "piqa", "f1")
