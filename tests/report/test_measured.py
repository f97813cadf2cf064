"""Tables of what was measured: values by hand, blanks with their reasons, the paper beside them."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from helpers import lm_eval_files
from rope_eval import catalogue
from rope_eval.errors import DataError, SpecError
from rope_eval.hosts.lm_eval.task_files import protocol_files
from rope_eval.protocols.columns import TASKS, metric_of, protocol_of
from rope_eval.report import formats, measured
from rope_eval.report import published as paper
from rope_eval.report.choice import Choice
from rope_eval.report.formats import Table
from rope_eval.report.runs import rows_of
from rope_eval.results.imports import read_lm_eval
from rope_eval.results.stats import Z, mean_variance, wilson
from rope_eval.results.store import Run, Store, run_key


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)  # no checkpoints.yaml of the developer's
    return Store(tmp_path / "runs")


def put(store: Store, tasks: dict[str, Any], row: str | None = None, **given: Any) -> str:
    count = len(list(store.root.parent.glob("out*")))
    folder = store.root.parent / f"out{count}"
    lm_eval_files.write(folder, tasks, **given)
    (imported,) = read_lm_eval(folder, row)
    return store.put(imported.run, imported.arrays).key


def put_curve(store: Store, model: str, rope: dict[str, Any], **given: Any) -> None:
    facts: dict[str, Any] = {
        "fingerprint": "/data/ours",
        "books": "books",
        "sha256": "a",
        "started": "1",
        "failed": [],
        "error": None,
        "dtype": "auto",
    } | given
    request = {
        "kind": "cumulative",
        "model": model,
        "fingerprint": facts["fingerprint"],
        "rope": rope,
        "lengths": list(facts["nll"]),
        "documents": [{"name": "one", "sha256": facts["sha256"]}, *facts["failed"]],
        "books": facts["books"],
        "dtype": facts["dtype"],
    }
    totals = [{"nll": nll, "hits": 0, "tokens": 1} for nll in facts["nll"].values()]
    store.put(
        Run(
            key=run_key(request),
            kind="cumulative",
            status="failed" if facts["error"] else "done",
            request=request,
            results={} if facts["error"] else {"totals": totals, "failed": facts["failed"]},
            provenance={"started": facts["started"]},
            error=facts["error"],
        )
    )


def cells(table: Table) -> list[dict[str, str | None]]:
    return [
        {
            name: None if cell is None else str(cell)
            for name, cell in zip(table.header, row, strict=True)
        }
        for row in table.rows
    ]


# --- columns --------------------------------------------------------------------------------------


def test_every_column_has_tasks_and_every_task_is_there() -> None:
    columns = {c for name in ("3", "4", "5") for c in paper.published(name).columns}
    assert set(TASKS["paper"]) == columns
    assert set(TASKS["leval"]) == set(paper.published("5").columns)
    assert set(TASKS["lm_eval"]) == set(paper.published("3+4").columns)
    assert (len(TASKS["paper"]["SuperGLUE"]), len(TASKS["paper"]["MMLU"])) == (10, 57)
    for protocol, by_column in TASKS.items():
        for task in (task for tasks in by_column.values() for task in tasks):
            assert protocol_of(task) == protocol
    ours = {t for p in ("paper", "leval") for tasks in TASKS[p].values() for t in tasks}
    assert {f"{task}.yaml" for task in ours} <= set(protocol_files())


def test_stock_metrics() -> None:
    assert metric_of("hellaswag") == "acc_norm,none"
    assert metric_of("nq_open") == "exact_match,remove_whitespace"
    assert metric_of("rope_paper_hellaswag") == "acc,none"


# --- from runs ------------------------------------------------------------------------------------


def test_values_and_blanks(store: Store) -> None:
    put(store, {"rope_paper_gsm": (0.0, 100), "rope_paper_toefl": (69 / 269, 269)})
    table = measured.table_of(rows_of(store), "5")
    assert cells(table) == [
        {
            "size": "",
            "model": "me/model",
            "GSM": "0.00",
            "TOEFL": "25.65",
            "TopicRet": None,
            "QuALITY": None,
            "Coursera": None,
        }
    ]
    assert table.caption == (
        "Measured: Long context (L-Eval), scores in percent, protocol paper.\n"
        "not run: me/model (TopicRet, QuALITY, Coursera)."
    )
    assert table.best == "highest"


def test_means_of_parts_say_when_parts_are_missing(store: Store) -> None:
    tasks: dict[str, Any] = {
        part: (i / 10, 10) for i, part in enumerate(TASKS["paper"]["SuperGLUE"])
    }
    put(
        store,
        tasks | {TASKS["paper"]["MMLU"][0]: (0.5, 10), TASKS["paper"]["MMLU"][1]: (1, 30)},
    )
    table = measured.table_of(rows_of(store), "3+4")
    (row,) = cells(table)
    assert row["SuperGLUE"] == "45.00"  # (0 + 1 + … + 9) / 100
    assert row["MMLU"] == "75.00"  # not weighted by size
    assert "mean of 2 of 57 parts: me/model (MMLU)." in table.caption


def test_what_a_reader_must_know_of_a_score(store: Store) -> None:
    folder = store.root.parent / "marked"
    file = lm_eval_files.write(
        folder,
        {
            "rope_paper_toefl": (0.2565, 20),
            "rope_paper_gsm": (None, 1),
            "rope_paper_quality": (0.5, 20),
        },
        answers={"rope_paper_toefl": {"B": 20}, "rope_paper_quality": {"A": 19, "B": 1}},
        n_all=20,
    )
    text = file.read_text().replace(
        '"rope_paper_gsm", "metadata": {"version": 1}',
        '"rope_paper_gsm", "metadata": {"missing": "no file gsm100.jsonl"}',
    )
    file.write_text(
        text.replace(
            '"rope_paper_toefl", "metadata": {"version": 1}',
            '"rope_paper_toefl", "metadata": {"truncation": "left", "truncate_at": 16384}',
        )
    )
    (imported,) = read_lm_eval(folder)
    store.put(imported.run, imported.arrays)
    table = measured.table_of(rows_of(store), "5")
    (row,) = cells(table)
    assert (row["GSM"], row["TOEFL"]) == (None, "25.65")
    assert table.caption.splitlines()[1:] == [
        "no file gsm100.jsonl: me/model (GSM).",
        "† prompts cut to 16384 tokens on the left: me/model (TOEFL).",
        "† 20 of 269 items: me/model (TOEFL).",
        "† 'B' throughout: me/model (TOEFL).",
        "not run: me/model (TopicRet, Coursera).",
        "† 20 of 202 items: me/model (QuALITY).",
    ]


def test_limits_and_scores_that_are_no_number(store: Store) -> None:
    put(store, {"rope_paper_gsm": (0.5, 4), "rope_paper_toefl": (float("nan"), 4)}, n_all=100)
    table = measured.table_of(rows_of(store), "5")
    assert cells(table)[0]["TOEFL"] is None
    assert "4 of 100 items: me/model (GSM)." in table.caption
    assert "its score is not a number: me/model (TOEFL)." in table.caption


def test_a_row_whose_only_score_is_no_number_is_blank_with_its_reason(store: Store) -> None:
    put(store, {"rope_paper_gsm": (float("nan"), 4)})
    table = measured.table_of(rows_of(store), "5")
    assert [row[2:] for row in cells_as_text(table)] == [("", "", "", "", "")]
    assert "its score is not a number: me/model (GSM)." in table.caption


def test_the_newest_of_several_runs(store: Store) -> None:
    put(store, {"rope_paper_gsm": (0.3, 10), "rope_paper_toefl": (0.1, 10)}, date=2000.0)
    put(store, {"rope_paper_gsm": (0.2, 10), "rope_paper_quality": (0.7, 10)}, date=1000.0)
    put(store, {"rope_paper_gsm": (float("nan"), 10)}, date=3000.0)
    table = measured.table_of(rows_of(store), "5")
    (row,) = cells(table)
    assert (row["GSM"], row["TOEFL"], row["QuALITY"]) == ("30.00", "10.00", "70.00")
    assert "the newest of runs that differ: me/model (GSM)." in table.caption


def test_protocols_are_apart(store: Store) -> None:
    put(store, {"rope_paper_gsm": (0.1, 10), "rope_leval_gsm": (0.2, 10), "piqa": (0.3, 10)})
    put(
        store,
        {"hellaswag": (0.4, 10)},
        metrics={"hellaswag": "acc_norm,none"},
        date=5.0,
    )
    rows = rows_of(store)
    assert cells(measured.table_of(rows, "5", "paper"))[0]["GSM"] == "10.00"
    assert cells(measured.table_of(rows, "5", "leval"))[0]["GSM"] == "20.00"
    (row,) = cells(measured.table_of(rows, "3", "lm_eval"))
    assert (row["PIQA"], row["Hellaswag"]) == ("30.00", "40.00")
    with pytest.raises(DataError, match="no done run of protocol lm_eval for table 5"):
        measured.table_of(rows, "5", "lm_eval")
    with pytest.raises(SpecError, match="Did you mean 'leval'"):
        measured.table_of(rows, "5", "leva")
    with pytest.raises(SpecError, match="table 2 is text"):
        measured.table_of(rows, "2")


# --- whose row ------------------------------------------------------------------------------------


def test_rows_of_the_catalogue_and_others(store: Store) -> None:
    scores = {"rope_paper_gsm": (0.5, 10)}
    rope = {"rope_theta": 500.0, "train_length": 4096, "tune_length": 4096}
    own = {"config": "llama2-7b/base-500", "pretrained": "/data/mine"}
    put(store, scores, model_args={"pretrained": "x/y"}, rope={"rope_theta": 7.0}, date=1.0)
    put(store, scores, model_args=own, rope=rope, date=2.0)
    put(store, scores, model_args=own, rope=rope | {"log_scale": True}, date=3.0)
    put(store, scores, model_args={"pretrained": "meta-llama/Llama-2-7b-hf"}, date=4.0)
    put(store, scores, model_args={"pretrained": "z/w"}, row="llama2-13b/base-500", date=5.0)
    put(store, scores, model_args={"config": "lab/base-20"}, rope={"rope_theta": 30}, date=6.0)
    assert [row.name for row in rows_of(store)] == [
        "llama2-13b/base-500",
        "llama2-7b/plain",
        "llama2-7b/base-500",
        "x/y, rope_theta=7",
        "mine, rope_theta=500,log_scale=True,train_length=4096,tune_length=4096",
        "lab/base-20, rope_theta=30",
    ]
    table = measured.table_of(rows_of(store), "5")
    assert [row[:2] for row in table.rows][:3] == [
        ("13B", "base=500"),
        ("7B", "LLaMA2 7B"),
        ("7B", "base=500"),
    ]


def test_two_checkpoints_of_one_name_are_two_rows(store: Store) -> None:
    for i, folder in enumerate(("/a/final", "/b/final")):
        put(store, {"rope_paper_gsm": (i / 10, 10)}, model_args={"pretrained": folder}, date=i)
    table = measured.table_of(rows_of(store), "5")
    assert [row[1:3] for row in cells_as_text(table)] == [
        ("final (/a/final)", "0.00"),
        ("final (/b/final)", "10.00"),
    ]


def cells_as_text(table: Table) -> list[tuple[str, ...]]:
    return [tuple("" if cell is None else str(cell) for cell in row) for row in table.rows]


def test_checkpoints_of_ones_own_find_their_row(store: Store) -> None:
    Path("checkpoints.yaml").write_text("llama2-7b/base-500: /data/ours\n")
    rope = {"rope_theta": 500, "train_length": 4096}
    put(store, {"rope_paper_gsm": (0.5, 10)}, model_args={"pretrained": "/data/ours"}, rope=rope)
    assert [row.name for row in rows_of(store)] == ["llama2-7b/base-500"]


# --- the paper beside it --------------------------------------------------------------------------


def test_both(store: Store) -> None:
    tasks = {"rope_paper_gsm": (0.05, 100), "rope_paper_toefl": (100 / 269, 269)}
    put(store, tasks, row="llama2-7b/ntk-dynamic", date=1.0)
    put(store, tasks, row="llama2-7b/pi-2", date=2.0, model_args="pretrained=me/other")
    table = measured.both(rows_of(store), "5")
    assert table.labels == ("size", "model", "source")
    lines = cells_as_text(table)
    at = lines.index(("7B", "NTK dynamic", "paper", "9.00", "37.17", "24.67", "30.20", "22.09"))
    assert lines[at + 1 : at + 3] == [
        ("7B", "NTK dynamic", "llama2-7b/ntk-dynamic", "5.00", "37.17", "", "", ""),
        ("7B", "NTK dynamic", "difference", "-4.00", "0.00", "", "", ""),
    ]
    assert lines[-1] == ("", "llama2-7b/pi-2", "llama2-7b/pi-2", "5.00", "37.17", "", "", "")
    theirs = [(*line[:2], *line[3:]) for line in lines if line[2] == "paper"]
    assert theirs == cells_as_text(paper.published("5"))
    assert len(lines) == len(theirs) + 3
    assert table.best is None
    assert "not in the paper: llama2-7b/pi-2 (row)." in table.caption


def test_rows_and_columns_are_chosen_with_the_papers(store: Store) -> None:
    put(store, {"rope_paper_gsm": (0.05, 100)}, row="llama2-7b/ntk-dynamic", date=1.0)
    put(store, {"rope_paper_gsm": (0.07, 100)}, row="llama2-7b/pi-2", date=2.0)
    rows = rows_of(store)
    own = [("7B", "NTK dynamic", "llama2-7b/ntk-dynamic", "", "5.00")]
    own_too = [("", "llama2-7b/pi-2", "llama2-7b/pi-2", "", "7.00")]
    theirs = [("7B", "NTK dynamic", "paper", "37.17", "9.00")]
    apart = [("7B", "NTK dynamic", "difference", "", "-4.00")]
    for name in ("llama2-7b/ntk-*", "7B/NTK dynamic", "paper:LLaMA2 7B/NTK dynamic"):
        choice = Choice(rows=["*pi-2", name], columns=["TOEFL", "GSM"])
        table = measured.both(rows, "5", choice=choice)
        assert table.columns == ("TOEFL", "GSM")
        assert cells_as_text(table) == [*own_too, *theirs, *own, *apart]
        assert "Coursera" not in table.caption
    table = measured.table_of(rows, "5", choice=Choice(rows=["*pi-2,*"], columns=["GSM"]))
    assert cells_as_text(table) == [("", "llama2-7b/pi-2", "7.00"), ("7B", "NTK dynamic", "5.00")]
    with pytest.raises(SpecError, match="no row 'base=500'"):
        measured.table_of(rows, "5", choice=Choice(rows=["base=500"]))


def test_intervals_of_one_part_and_of_a_mean(store: Store) -> None:
    glue = dict.fromkeys(TASKS["paper"]["SuperGLUE"], (0.5, 100))
    put(store, {"rope_paper_piqa": (0.25, 100), **glue}, row="llama2-7b/plain")
    for table, row in (
        (measured.table_of(rows_of(store), "3", intervals=True), 0),
        (measured.both(rows_of(store), "3", intervals=True), 1),
    ):
        low, high = wilson(0.25, 100)
        spread = Z * math.sqrt(mean_variance([(0.5, 100)] * len(glue)))
        ends = {"PIQA": (low, high), "SuperGLUE": (0.5 - spread, 0.5 + spread)}
        assert {table.header[cell] for _, cell in table.intervals} == ends.keys()
        for (at, cell), found in table.intervals.items():
            assert at == row
            assert found == tuple(Decimal(f"{100 * end:.2f}") for end in ends[table.header[cell]])
    assert not measured.table_of(rows_of(store), "3").intervals


def test_lengths_are_chosen(store: Store) -> None:
    put_curve(store, "me/a", {}, nll={1024: 1.0, 2048: 2.0})
    put_curve(store, "me/b", {}, nll={2048: 3.0}, started="2")
    rows = rows_of(store)
    assert measured.table_of(rows, "1", choice=Choice(lengths=[1024])).header[3:] == ("1K",)
    assert len(measured.table_of(rows, "1", choice=Choice(lengths=[1024])).rows) == 1
    both = measured.both(rows, "1", choice=Choice(lengths=[2048, 131072]))
    assert both.columns == ("2K", "128K")
    for make, length in ((measured.table_of, 131072), (measured.both, 4096)):
        with pytest.raises(SpecError, match=f"at a length of {length}: there are 1024, 2048"):
            make(rows, "1", choice=Choice(lengths=[length]))


def test_one_item_beside_the_paper_is_marked(store: Store) -> None:
    put(
        store, {"rope_paper_arc_c": (1.0, 1), "rope_paper_arc_e": (0.0, 567)}, row="llama2-7b/plain"
    )
    table = measured.table_of(rows_of(store), "4")
    assert "| 100.00† |" in formats.render(table, "markdown")
    assert r" & 100.00$^\dagger$" in formats.render(table, "latex")
    assert "<td>100.00&#8224;</td>" in formats.render(table, "html")
    assert ",100.00," in formats.render(table, "csv")  # a number for whoever computes with it
    assert "† 1 of 295 items: llama2-7b/plain (ARC-c)." in table.caption
    assert table.marks == {(0, table.header.index("ARC-c"))}  # 0.00 of all items has none
    table = measured.both(rows_of(store), "4")
    assert "† 1 of 295 items: llama2-7b/plain (ARC-c)." in table.caption
    assert table.marks == {(1, table.header.index("ARC-c"))}


def test_parts_have_the_items_of_the_protocol_together(store: Store) -> None:
    first, *others = TASKS["paper"]["MMLU"]
    put(store, {first: (0.5, 266), **dict.fromkeys(others, (0.5, 246))})  # 14042 in all
    assert "items" not in measured.table_of(rows_of(store), "4").caption
    put(store, dict.fromkeys((first, *others), (0.5, 1)), date=2000.0)
    assert "57 of 14042 items" in measured.table_of(rows_of(store), "4").caption


def test_latex_sets_in_bold_what_competes_alone(store: Store) -> None:
    put_curve(store, "me/a", {}, nll={1024: 1.0})
    put_curve(store, "me/b", {}, nll={1024: 2.0}, started="2")
    put_curve(store, "me/c", {}, nll={1024: 0.5}, sha256="b", started="3")  # other documents
    table = measured.table_of(rows_of(store), "1")
    assert table.best_cells() == {(0, 3)}
    assert formats.render(table, "latex").count(r"\textbf") == 1


# --- Table 1 --------------------------------------------------------------------------------------


def test_curves(store: Store) -> None:
    Path("checkpoints.yaml").write_text("llama2-7b/base-500-16k: /data/ours\n")
    rope = catalogue.load()["llama2-7b/base-500-16k"].rope.to_dict()
    put_curve(store, "ours", rope, nll={131072: 2.0, 262144: 1000.0})
    put_curve(store, "ours", rope, nll={100: 1.0}, started="2")
    put_curve(store, "ours", rope, nll={131072: 3.0}, sha256="b", started="3")
    table = measured.table_of(rows_of(store), "1")
    assert table.columns == ("100", "128K", "256K")
    assert [(row[1], *row[3:]) for row in cells_as_text(table)] == [
        ("base=500", "2.72", "7.39", ""),
        ("base=500", "", "20.09", ""),
    ]
    books = [str(row[2]) for row in table.rows]
    assert books[0].startswith("books (1 document, ")
    assert books[0] != books[1]  # other documents are another measurement
    assert "past the largest number: llama2-7b/base-500-16k (256K)" in table.caption
    assert table.best == "lowest"

    table = measured.both(rows_of(store), "1")
    assert table.columns == ("100", "128K", "256K", "512K", "1M")
    lines = [(row[2].split(",")[0], *row[3:]) for row in cells_as_text(table)]
    assert lines[:3] == [
        ("paper", "", "9.49", "12.41", "23.99", "51.28"),
        ("llama2-7b/base-500-16k", "2.72", "7.39", "", "", ""),
        ("difference", "", "-2.10", "", "", ""),
    ]
    assert [line[0] for line in lines].count("paper") == len(paper.published("1").rows)
    assert "not in the paper: llama2-7b/base-500-16k (100)" in table.caption


def test_curves_of_documents_that_failed(store: Store) -> None:
    failed = [{"name": "two", "sha256": "b", "error": "two: nan"}]
    put_curve(store, "me/model", {}, nll={1024: 1.0, 2048: 2.0}, failed=failed, started="2")
    put_curve(store, "me/other", {}, nll={1024: 1.0}, error="one: nan", started="2")
    table = measured.table_of(rows_of(store), "1")
    some, none = cells(table)
    assert (some["1K"], some["2K"]) == ("2.72", "7.39")
    assert (none["1K"], none["2K"]) == (None, None)
    assert "failed: two: nan: me/model (1K, 2K)" in table.caption
    assert "failed: one: nan: me/other (1K)" in table.caption
    assert "not run: me/other (2K)" in table.caption
    put_curve(store, "me/other", {}, nll={1024: 2.0}, started="3", dtype="float32")
    _, done = cells(measured.table_of(rows_of(store), "1"))
    assert done["1K"] == "7.39"
    put_curve(store, "me/other", {}, nll={1024: 2.0}, error="x", started="4", dtype="float16")
    table = measured.table_of(rows_of(store), "1")
    assert cells(table)[1]["1K"] == "7.39"  # an older run has more to say
    assert "one: nan" not in table.caption


def test_nothing_measured(store: Store) -> None:
    for name in ("1", "3+4"):
        with pytest.raises(DataError, match=f"no done run of .* for table {name[0]}"):
            measured.table_of(rows_of(store), name)
