"""One frame: every number of the store in a row of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import lm_eval_files
from rope_eval import results
from rope_eval.results import frame, identity, tidy
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.store import Entry, Run, Store
from rope_eval.results.tidy import COLUMNS, for_spreadsheets
from rope_eval.rope.spec import RopeSpec


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def put_curve(store: Store, documents: Sequence[str] = ("a",), **changes: Any) -> str:
    asked = identity.request(
        "cumulative",
        "me/model",
        RopeSpec(rope_theta=7),
        backend="vllm",
        dtype="auto",
        lengths=[64, 128],
        documents=[{"name": "one", "sha256": sha256} for sha256 in documents],
        books="builtin",
    )
    totals = [
        {"nll": 63 * math.log(8), "hits": 21, "tokens": 63},
        {"nll": 127 * math.log(4), "hits": 127, "tokens": 127},
    ]
    fields: dict[str, Any] = {"status": "done", "results": {"totals": totals}} | changes
    provenance = {"started": "2026", "git_commit": "abc", "row": None}
    run = Run(
        key=identity.run_key(asked),
        kind="cumulative",
        request=asked,
        provenance=provenance,
        **fields,
    )
    return store.put(run).key


def test_the_room_has_the_two_public_names() -> None:
    assert results.frame is tidy.frame
    assert results.Store is Store
    assert {"Store", "frame"} <= set(dir(results))
    with pytest.raises(AttributeError, match="has no attribute 'frames'"):
        _ = results.frames


def test_curves(store: Store) -> None:
    key = put_curve(store)
    table = frame(store)
    assert list(table.columns) == list(COLUMNS)
    assert table["value"].tolist() == pytest.approx([8, 1 / 3, 4, 1])
    assert table["metric"].tolist() == ["perplexity", "accuracy"] * 2
    assert table["length"].tolist() == [64, 64, 128, 128]
    assert table["n"].tolist() == [63, 63, 127, 127]
    assert table["n_all"].isna().all()
    first = table.iloc[0].dropna().to_dict()
    assert first.pop("task").startswith("builtin (1 document, ")
    for name in ("metric", "length", "value", "n"):
        first.pop(name)
    assert first == {
        "row": "me/model, rope_theta=7",
        "model": "me/model",
        "weights": "me/model",
        "setting": "rope_theta=7",
        "kind": "cumulative",
        "host": "rope-eval",
        "backend": "vllm",
        "protocol": "cumulative",
        "measurement": "perplexity",
        "better": "lower",
        "dtype": "auto",
        "key": key,
        "started": "2026",
        "commit": "abc",
    }


def test_documents_that_failed_are_said(store: Store) -> None:
    put_curve(store)
    whole = frame(store)["task"][0]
    totals = [{"nll": 63.0, "hits": 1, "tokens": 63}, {"nll": 127.0, "hits": 1, "tokens": 127}]
    failed = [{"name": "one", "sha256": "a", "error": "one: nan"}]
    key = put_curve(store, documents=["a", "b"], results={"totals": totals, "failed": failed})
    table = frame(store)
    table = table[table["key"] == key]
    assert set(table["remark"]) == {"failed: one: nan"}
    assert table["value"].tolist()[::2] == pytest.approx([math.e] * 2)
    (task,) = set(table["task"])
    content = hashlib.sha256(b"b").hexdigest()[:6]
    assert task == f"builtin (1 of 2 documents, {content})"
    assert task != whole


def test_tasks_and_blanks_with_their_reasons(store: Store) -> None:
    folder = store.root.parent / "out"
    lm_eval_files.write(
        folder,
        {"rope_paper_gsm": (0.25, 8), "piqa": (math.nan, 3), "books": (9.5, 2)},
        metrics={"books": "perplexity@4096,none"},
        answers={"rope_paper_gsm": {"B": 8}},
        n_all=10,
    )
    (imported,) = read_lm_eval(folder, "llama2-7b/plain")
    store.put(imported.run)
    table = frame(store).set_index("task")
    assert set(table["row"]) == {"llama2-7b/plain"}
    assert set(table["host"]) == {"lm-eval"}
    gsm, piqa, books = (table.loc[name] for name in ("rope_paper_gsm", "piqa", "books"))
    assert (gsm["protocol"], gsm["metric"], gsm["value"]) == ("paper", "acc,none", 0.25)
    assert (gsm["n"], gsm["n_all"], gsm["answer"]) == (8, 10, "B")
    assert math.isnan(piqa["value"])
    assert piqa["remark"] == "its score is not a number"
    assert (books["length"], books["value"]) == (4096, 9.5)
    assert gsm["length"] is pd.NA


def test_failed_runs_and_runs_of_another_shape(store: Store) -> None:
    put_curve(store, status="failed", results={}, error="nan at token 3")
    rows = frame(store).to_dict("records")
    assert [(row["metric"], row["length"]) for row in rows] == [
        ("perplexity", 64),
        ("perplexity", 128),
    ]
    for row in rows:
        assert row["task"].startswith("builtin (1 document, ")
        assert row["remark"] == "failed: nan at token 3"
        assert math.isnan(row["value"])
    bad: list[Entry] = []
    other = Store(store.root.with_name("other"), on_bad=bad.append)
    put_curve(other, results={})
    assert frame(other).empty
    assert frame(other).empty
    [entry] = bad
    assert entry.why == "its record is of another shape: KeyError('totals')"


def test_an_empty_store_has_the_same_columns(store: Store) -> None:
    empty = frame(store)
    put_curve(store)
    assert empty.empty
    assert empty.dtypes.to_dict() == frame(store).dtypes.to_dict()


def test_no_text_is_a_formula(store: Store) -> None:
    put_curve(store)
    table = frame(store).assign(model=["=1+1", " @x", "-2", "a=b"], row=["+", "x", pd.NA, "\t=1"])
    safe = for_spreadsheets(table)
    assert safe["model"].tolist() == ["'=1+1", "' @x", "'-2", "a=b"]
    assert safe["row"].fillna("").tolist() == ["'+", "x", "", r"\t=1"]
    assert safe["value"].equals(table["value"])
