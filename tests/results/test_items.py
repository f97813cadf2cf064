"""What each number is made of: over its items Σ sum / Σ n is the number of the frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import figure_store, lm_eval_files
from rope_eval.results import frame
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.items import COLUMNS, items
from rope_eval.results.store import Entry, Run, Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def put_tasks(store: Store) -> None:
    folder = store.root.parent / "out"
    lm_eval_files.write(folder / "gsm", {"rope_paper_gsm": [1.0, 0.0, 0.0, 0.0]})
    lm_eval_files.write_items(
        folder / "retrieval",
        "retrieval",
        {"nll@4096": 1.5},
        [
            {"nll@4096": "Sums(nll=2.0, hits=0, tokens=2)"},
            {"nll@4096": "Sums(nll=4.0, hits=1, tokens=2)"},
        ],
    )
    for imported in read_lm_eval(folder):
        store.put(imported.run, imported.arrays)


def test_they_make_the_numbers_of_the_frame(store: Store) -> None:
    figure_store.put_books(store, losses=[(0, 1.0), (200, 2.5)], documents=3)
    put_tasks(store)
    table = items(store)
    assert list(table.columns) == list(COLUMNS)
    by = ["key", "task", "metric", "length"]
    pooled = table.groupby(by, observed=True, dropna=False)[["sum", "n"]].sum()
    numbers = frame(store).set_index(by)
    assert len(pooled) == len(numbers) == 2 * len(figure_store.LENGTHS) + 2
    for place, (total, n) in pooled.iterrows():
        mean = total / n
        value = math.exp(mean) if place[2] == "perplexity" else mean
        assert value == pytest.approx(numbers.loc[[place], "value"].item(), rel=1e-6), place


def test_an_item_is_named_by_its_content_too(store: Store) -> None:
    figure_store.put_books(store, documents=2)
    put_tasks(store)
    table = items(store)
    books = table[table["measurement"] == "perplexity"]
    assert books["item"].unique().tolist() == [f"{n}:{'0' * 16}" for n in range(2)]
    assert set(books["row"]) == {"me/model"}
    retrieval = table[table["measurement"] == "retrieval"]
    assert [item.partition(":")[0] for item in retrieval["item"]] == ["0", "1"]
    assert retrieval[["sum", "n", "length"]].values.tolist() == [[2.0, 2, 4096], [4.0, 2, 4096]]
    assert table[table["task"] == "rope_paper_gsm"]["sum"].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_in_window_losses_stand_at_the_lengths_of_their_curves(store: Store) -> None:
    figure_store.put_in_windows(store, losses=[(0, 1.0), (200, 2.5)], documents=2)
    assert items(store).empty  # no curve says where
    figure_store.put_books(store, losses=[(0, 3.0)], documents=2)
    table = items(store)
    losses = table[table["measurement"] == "in_window"]
    assert losses["length"].unique().tolist() == list(figure_store.LENGTHS)
    first = losses[losses["item"] == f"0:{'0' * 16}"].set_index("length")
    assert first["n"].tolist() == [n - 1 for n in figure_store.LENGTHS]
    assert first["sum"][128] == 127
    assert first["sum"][256] == 199 + 2.5 * 56
    # paired with the curve by documents
    curve = table[(table["kind"] == "cumulative") & (table["metric"] == "perplexity")]
    assert set(curve["item"]) == set(losses["item"])


def test_documents_that_failed_are_not_there(store: Store) -> None:
    key = figure_store.put_books(store, documents=2)
    run = store.get(key)
    assert run is not None
    results = run.results | {
        "by_document": run.results["by_document"][1:],
        "failed": [{"name": "0", "sha256": run.request["documents"][0]["sha256"], "error": "nan"}],
    }
    changed = Run(
        key=run.key,
        kind=run.kind,
        status="done",
        request=run.request,
        results=results,
        provenance=run.provenance,
    )
    store.put(changed, replace=True)
    table = items(store)
    assert set(table["item"]) == {f"1:{'0' * 16}"}
    assert len(table) == 2 * len(figure_store.LENGTHS)


def test_a_run_of_another_shape_is_left_out(store: Store) -> None:
    bad: list[Entry] = []
    store = Store(store.root, on_bad=bad.append)
    key = figure_store.put_books(store)
    run = store.get(key)
    assert run is not None
    results = {name: value for name, value in run.results.items() if name != "by_document"}
    changed = Run(
        key=run.key,
        kind=run.kind,
        status="done",
        request=run.request,
        results=results,
        provenance=run.provenance,
    )
    store.put(changed, replace=True)
    assert items(store).empty
    assert [entry.why for entry in bad] == [
        "its record is of another shape: KeyError('by_document')"
    ]


def test_an_empty_store_has_the_same_columns(store: Store) -> None:
    empty = items(store)
    figure_store.put_books(store)
    full = items(store)
    assert empty.empty and list(empty.columns) == list(full.columns)
    assert empty["length"].dtype == full["length"].dtype == pd.Int64Dtype()
    assert empty["sum"].dtype == full["sum"].dtype == np.float64
