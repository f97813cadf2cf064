"""What stands on the page of a store: every outcome with its reason, every number with its mark."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from helpers import figure_store, page_store
from rope_eval.plans.plan import Plan
from rope_eval.report.page.build import page_of
from rope_eval.report.page.findings import find
from rope_eval.report.page.model import Cell, Note, Page, Sample, Table
from rope_eval.results.store import Store
from rope_eval.results.tidy import COLUMNS


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.chdir(tmp_path)
    return page_of(find(page_store.full(tmp_path)), made=datetime(2026, 11, 26, 4, 5, tzinfo=UTC))


def table(page: Page, name: str) -> dict[str, dict[str, Cell]]:
    """Return a table's rows by their first cell, and their cells by column."""
    (found,) = (part for part in page.parts() if isinstance(part, Table) and part.name == name)
    return {row[0].text: dict(zip(found.columns, row, strict=True)) for row in found.rows}


def test_the_verdict_says_what_failed(page: Page) -> None:
    assert page.verdict == (
        "8 runs, 5 of them proven; 2 failed wholly or in part; 2 files of the store left out."
    )
    assert page.state == "bad"
    assert page.facts[0] == ("made", "2026-11-26 04:05 UTC")


def test_failures_have_their_reasons(page: Page) -> None:
    reasons = {name: row["reason"].text for name, row in table(page, "failures").items()}
    assert reasons["me/model, rope_theta=100: cumulative builtin to 128"] == (
        "model.safetensors: no such file"
    )
    assert reasons["me/model, rope_theta=1000: cumulative builtin to 128"] == "two: a score is NaN"
    assert reasons["notes.txt"] == "a run's name is 16 hex digits and .zip"
    assert f"{'0' * 16}.zip" in reasons
    assert len(reasons) == 4


def test_nothing_failed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "runs")
    page_store.curve(store, 7)
    page = page_of(find(store))
    assert page.verdict == "1 runs, 1 of them proven; none failed." and page.state == "good"
    (note,) = next(s.parts for s in page.sections if s.name == "failures")
    assert note == Note(text="Nothing failed, and no file was left out.", state="good")


def test_every_run_says_whether_it_was_proven(page: Page) -> None:
    rows = table(page, "runs").items()
    proofs = {name: row["proof"] for name, row in rows if "tokens" not in row["measured"].text}
    proven = proofs["me/model, rope_theta=10"]
    assert (proven.text, proven.state) == ("proven", "good")
    assert "rope_theta moves a score by 2.5 nats" in proven.notes
    assert "the neutral setting is the stock model to 4e-06 nats" in proven.notes
    assert proofs["me/model, rope_theta=10000"] == Cell(text="off", state="warn")
    assert proofs["me/model, rope_theta=100000"].state == "bad"
    assert proofs["me/model"] == Cell(text="not recorded", state="warn")  # an import


def test_an_engines_proof_is_told_from_its_word_alone() -> None:
    from rope_eval.report.page.proof import proof_cell

    said = {"workers": "0a1b", "layers": "2 of 4"}
    unproven = proof_cell(said | {"reference": "none: 500 MiB of weights"})
    assert unproven.text == "set" and unproven.notes[1] == "reference: none: 500 MiB of weights"
    proven = proof_cell(said | {"reference": {"difference": 0.001, "moves": 1.5}})
    assert proven.text == "proven" and proven.notes == (
        "its workers answered with the setting 0a1b, in 2 of 4 layers",
        "scores differ from the reference's by 0.001 nats",
        "the setting moves a score by 1.5 nats",
    )


def test_scores_by_length_stand_beside_the_bound(page: Page) -> None:
    tables = [part for part in page.parts() if isinstance(part, Table) and "scores-" in part.name]
    of_books = next(part for part in tables if part.title.startswith("perplexity of builtin (2"))
    assert of_books.columns == ("model and setting", "bound", "64", "128")
    by_row = {row[0].text: row[1:] for row in of_books.rows}
    bound, first, second = by_row["me/model, rope_theta=100000"]
    assert (bound.text, first.text, second.text) == ("100", "3.00", "2.00")
    assert second.number == pytest.approx(2.0, rel=1e-12)
    failed = by_row["me/model, rope_theta=100"][1]
    assert failed.text == "–" and failed.notes == ("failed: model.safetensors: no such file",)
    assert by_row["me/model, rope_theta=10000"][1].text == "> 10^304"


def test_what_is_degenerate_is_marked(page: Page) -> None:
    row = table(page, "scores-tasks")["me/model"]
    chance = row["piqa acc"]
    assert (chance.text, chance.more, chance.state) == ("0.5000", "0.4038 … 0.5962", "bad")
    assert chance.notes == ("not to be told from chance, 0.5000", "100 of 200 items")
    constant = row["rope_paper_mmlu_anatomy acc"]
    assert constant.text == "0.8000" and constant.state == "bad"
    assert constant.notes[0] == "'A' was answered throughout"
    assert not any("chance" in note for note in constant.notes)


def test_an_infinite_perplexity_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rope_eval.report.page.scores import score_cell

    line = dict.fromkeys(COLUMNS) | {"task": "books", "metric": "perplexity"}
    cell = score_cell(line | {"value": math.inf})
    assert (cell.text, cell.state, cell.number) == ("inf", "bad", math.inf)
    assert score_cell(line).text == "–" and score_cell(line).state == "bad"
    assert score_cell(line | {"value": 2.0}).state == ""


def test_samples_stand_beside_the_reference(page: Page) -> None:
    (sample,) = (part for part in page.parts() if isinstance(part, Sample))
    assert sample.title == f"{page_store.NASTY}, after 64 tokens" and sample.prompt == "Once"
    assert sample.texts == (
        ("the text itself", "upon"),
        ("me/model, rope_theta=10", f"</pre></script>{page_store.NASTY}"),
        ("me/model, rope_theta=100", " a time"),
    )


def test_the_newest_of_runs_that_differ_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "runs")
    for day, value in (("1", 0.5), ("2", 0.25), ("3", None)):
        figure_store.put_task(
            store, task="t", metrics={"acc,none": value}, started=f"2026-01-0{day}"
        )
    cell = table(page_of(find(store)), "scores-tasks")["me/model"]["t acc"]
    assert cell.text == "0.2500" and cell.notes == ("the newest of runs that differ",)


def test_a_plans_failure_stands_once_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Path("plan.yaml")
    plan.write_text(
        "models: [lab/pretrained]\nsettings: [{}]\n"
        "measurements:\n  - perplexity: {books: /nowhere, lengths: [64]}\n"
    )
    (row,) = table(page_of(find(Store("runs"), Plan.read(plan))), "failures").values()
    assert row["state"].text == "cannot"
    assert row["reason"].text.startswith("no books at '/nowhere'")


def test_provenance_has_what_makes_a_run_again(page: Page) -> None:
    rows = table(page, "provenance").values()
    row = next(row for row in rows if row["model and setting"].text == "me/model, rope_theta=10")
    assert row["command"].text == "rope-eval run plan.yaml --x 'a b'"
    assert row["machine"].text == "2 processors, 8 GiB, Linux"
    assert row["versions"].text == "torch 2.13.0"
    assert row["commit"].text == "abc123"


def test_csv_has_all_digits_and_no_formulas(page: Page) -> None:
    rows = list(csv.reader(io.StringIO(page.downloads["numbers"])))
    assert rows[0] == list(COLUMNS)
    assert len(rows) == 1 + 4 * 4 + 2 + 2  # four curves, one that failed, two tasks
    little = Table(
        name="x",
        title="",
        columns=("=name", "n"),
        rows=((Cell(text="=1+1\n"), Cell(text="0.33", number=1 / 3)),),
    )
    assert little.csv() == "'=name,n\n'=1+1\\n,0.3333333333333333\n"


def test_an_empty_store_is_a_page_too(tmp_path: Path) -> None:
    page = page_of(find(Store(tmp_path)))
    assert page.verdict == "0 runs, 0 of them proven; none failed."
    assert Note(text="No run has a number.", state="warn") in list(page.parts())
