"""A table of any measurement in the store: values by hand, in the place that they belong to."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from helpers import lm_eval_files
from rope_eval.errors import SpecError
from rope_eval.report import measured
from rope_eval.report.choice import Choice
from rope_eval.report.formats import Table, render
from rope_eval.report.runs import rows_of
from rope_eval.report.stored import stored_table
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.stats import wilson
from rope_eval.results.store import Store
from rope_eval.scores import Sums


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
    assert table.header == ("model", "task", "metric", "4K", "8K")  # 16K was not run
    assert cells(table) == [
        ("me/model", "niah_single_1", "score", "1.0000", "0.2500"),
        ("me/model", "ruler_vt", "score", "0.5000", ""),
    ]
    assert table.caption == (
        "Measured: ruler, numbers as recorded. Blank where nothing was run of a task."
    )
    put(store, {"ruler_vt": {"8192,none": 0.75}}, model_args="pretrained=x/y", date=2000.0)
    table = stored_table(store, "ruler")
    assert [row[:2] for row in cells(table)] == [
        ("me/model", "niah_single_1"),
        ("me/model", "ruler_vt"),
        ("x/y", "ruler_vt"),
    ]
    assert table.caption.splitlines() == [
        "Measured: ruler, numbers as recorded.",
        "not run: me/model, ruler_vt, score (8K); x/y, ruler_vt, score (4K).",
    ]


def test_retrieval_and_any_task(store: Store) -> None:
    put(store, {"retrieval": {"accuracy@1024,none": 0.8, "nll@1024,none": 1.25}})
    put(store, {"arc_easy": {"acc,none": 0.3, "acc_norm,none": math.nan}}, n_all=2376, date=2000.0)
    assert cells(stored_table(store, "retrieval")) == [
        ("me/model", "retrieval", "accuracy", "0.8000"),
        ("me/model", "retrieval", "nll", "1.2500"),
    ]
    table = stored_table(store, "arc_*,retr*", "acc")
    assert table.header == ("model", "arc_easy")
    assert cells(table) == [("me/model", "0.3000")]
    assert table.caption.splitlines() == [
        "Measured: arc_*,retr*, numbers as recorded, metric acc.",
        "† 5 of 2376 items: me/model (arc_easy).",
    ]
    assert table.marks == {(0, 1)}
    table = stored_table(store, "arc_*")
    assert table.header == ("model", "arc_easy acc", "arc_easy acc_norm")
    table = stored_table(store, "tasks")
    assert table.columns == ("1K", "value")
    assert cells(table)[-1] == ("me/model", "arc_easy", "acc_norm", "", "")
    assert "its score is not a number: me/model, arc_easy, acc_norm (value)." in table.caption


def test_babilong_by_length(store: Store) -> None:
    put(store, {"babilong_qa1": {"acc@4096,none": 0.75, "acc@131072,none": 0.25}})
    put(store, {"babilong_qa1": {"acc,none": 1.0}}, date=2000.0)  # of 0k
    table = stored_table(store, "babilong")
    assert table.columns == ("4K", "128K", "value")
    assert cells(table) == [("me/model", "babilong_qa1", "acc", "0.7500", "0.2500", "1.0000")]


def test_longbench_by_the_length_of_its_items(store: Store) -> None:
    task = "longbench_qasper_e"
    put(store, {task: {f"score@{part},none": 0.25 for part in ("8k+", "0-4k", "4-8k")}})
    put(store, {task: {"score,none": 0.5, "score@8k+,none": 0.75}}, date=2000.0)
    table = stored_table(store, "longbench")
    assert table.columns == ("0-4k", "4-8k", "8k+", "value")
    assert cells(table) == [("me/model", task, "score", "0.2500", "0.2500", "0.7500", "0.5000")]


def test_the_newest_and_what_was_not_asked_alike(store: Store) -> None:
    put(store, {"piqa": {"acc,none": 0.1}}, date=3.0)
    put(store, {"piqa": {"acc,none": 0.2}}, date=2.0)
    put(store, {"piqa": {"acc,none": 0.3}}, model_args="pretrained=x/y,dtype=float16", date=1.0)
    put(store, {"piqa": {"acc,none": 0.3}}, model_args="pretrained=x/z,dtype=float32", date=0.5)
    table = stored_table(store, "piqa")
    assert dict(cells(table)) == {"me/model": "0.1000", "x/y": "0.3000", "x/z": "0.3000"}
    assert "† the newest of runs that differ: me/model (piqa)." in table.caption
    assert "not asked alike: dtype float16: x/y (piqa)." in table.caption


def test_two_checkpoints_of_a_name_and_two_hosts(store: Store) -> None:
    put(store, {"piqa": {"acc,none": 0.1}}, model_args="pretrained=a/b,peft=x")
    put(
        store,
        {"piqa": {"acc,none": 0.2}},
        model_args="pretrained=a/b,peft=x,revision=main",
        date=2000.0,
    )
    first, second = (row[0] for row in cells(stored_table(store, "piqa")))
    assert (first, second) == ("a/b + x (a/b + x)", "a/b + x (a/b + main + x)")


def put_three(store: Store) -> None:
    for name, score in (("a/x", 0.25), ("b/y", 0.75), ("b/z", 0.5)):
        put(
            store,
            {
                "piqa": {"acc,none": score, "acc_norm,none": 1 - score},
                "wiki": {"word_perplexity,none": 10 * score},
                "pg19_cumulative": {"perplexity@1024,none": 8 * score, "documents,none": 5},
                "retrieval": {f"nll@{n},none": score for n in (1024, 2048)},
            },
            model_args=f"pretrained={name}",
            date=score,
        )


def test_rows_columns_and_lengths_are_chosen_and_ordered(store: Store) -> None:
    put_three(store)
    some = Choice(rows=["b/z,*"], columns=["piqa acc_norm", "word_perplexity"])
    table = stored_table(store, "tasks", choice=some)
    assert table.header == ("model", "piqa acc_norm", "wiki word_perplexity")
    assert cells(table) == [
        ("b/z", "0.5000", "5.0000"),
        ("a/x", "0.7500", "2.5000"),
        ("b/y", "0.2500", "7.5000"),
    ]
    assert table.best_cells() == {(1, 1), (1, 2)}  # the highest, and the lowest
    table = stored_table(store, "tasks", choice=Choice(rows=["b/*"], lengths=[2048]))
    assert table.header == ("model", "task", "metric", "2K")
    assert cells(table) == [
        ("b/z", "retrieval", "nll", "0.5000"),
        ("b/y", "retrieval", "nll", "0.7500"),
    ]
    table = stored_table(store, "tasks", choice=Choice(rows=["b/*"], columns=["retr*", "piqa"]))
    assert [row[:3] for row in cells(table)] == [
        (model, task, metric)
        for task, metric in (("retrieval", "nll"), ("piqa", "acc"), ("piqa", "acc_norm"))
        for model in ("b/z", "b/y")
    ]
    assert table.best_cells() == {(0, 3), (0, 4), (3, 5), (4, 5)}
    assert "documents" not in str(cells(stored_table(store, "tasks")))  # no score
    table = stored_table(store, "tasks", choice=Choice(columns=["documents"]))
    assert cells(table)[0] == ("a/x", "5.0000")
    with pytest.raises(SpecError, match=r"no row 'c/\*'"):
        stored_table(store, "tasks", choice=Choice(rows=["c/*"]))


def test_the_papers_rows_among_ones_own(store: Store) -> None:
    put_three(store)
    some = Choice(rows=["paper:LLaMA2 7B/base=500*,b/y"], lengths=[1024, 131072])
    table = stored_table(store, "perplexity", published=True, choice=some)
    assert table.columns == ("1K", "128K")
    assert cells(table) == [
        ("paper:LLaMA2 7B/base=500", "Books3", "perplexity", "", "9.49"),
        ("paper:LLaMA2 7B/base=500 log-scaled", "Books3", "perplexity", "", "9.13"),
        ("b/y", "pg19_cumulative", "perplexity", "6.00", ""),
    ]
    assert "Measured, and the paper's (arXiv 2310.05209): perplexity" in table.caption
    some = Choice(rows=["b/y", "paper:LLaMA2 13B/LLaMA2 13B"])
    table = stored_table(store, "piqa,PIQA", "acc", published=True, choice=some, intervals=True)
    assert cells(table) == [("b/y", "0.7500", ""), ("paper:LLaMA2 13B/LLaMA2 13B", "", "0.7954")]
    low, high = wilson(0.7954, 1838)
    assert table.intervals[1, 2] == (Decimal(f"{low:.4f}"), Decimal(f"{high:.4f}"))
    with pytest.raises(SpecError, match="the paper has no numbers of retrieval, only of Books3, L"):
        stored_table(store, "retrieval", published=True)


def test_intervals(store: Store) -> None:
    put_three(store)
    table = stored_table(store, "tasks", choice=Choice(rows=["b/z"]), intervals=True)
    low, high = wilson(0.5, 5)
    of_piqa = (Decimal(f"{low:.4f}"), Decimal(f"{high:.4f}"))
    rows = [row[1:3] for row in cells(table)]
    at = {(rows[row], table.header[cell]): ends for (row, cell), ends in table.intervals.items()}
    assert at == {(("piqa", "acc"), "value"): of_piqa, (("piqa", "acc_norm"), "value"): of_piqa}
    assert "no interval, of one document or of items that were not kept: " in table.caption
    assert "b/z, wiki, word_perplexity (value)" in table.caption
    assert not stored_table(store, "tasks").intervals


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
        SpecError, match="has nothing for the table 'ruler': measure or import it first"
    ):
        stored_table(store, "ruler")
    put(store, {"piqa": {"acc,none": 0.1}})
    with pytest.raises(SpecError, match="Did you mean 'piqa'"):
        stored_table(store, "piqua")
    with pytest.raises(SpecError, match="with metric 'f1'"):
        stored_table(store, "piqa", "f1")


def test_an_interval_past_the_largest_number_is_none(store: Store) -> None:
    sums = [Sums(nll=nll, hits=0, tokens=2) for nll in (2.0, 2000.0)]
    folder = store.root.parent / "out"
    perplexity = math.exp(1002 / 4)
    lm_eval_files.write_items(
        folder,
        "my_cumulative",
        {"perplexity@64": perplexity},
        [{"perplexity@64": str(one)} for one in sums],
    )
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)
    table = stored_table(store, "perplexity", intervals=True)
    assert not table.intervals
    assert "no interval" in table.caption
    render(table, "json")
