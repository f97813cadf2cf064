"""What was measured, as files: the store's numbers, bit for bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.lab_store import (
    EDGES,
    LENGTHS,
    TRAIN,
    put_attention,
    put_curve,
    put_distances,
    put_retrieval,
    recipe,
    step,
)
from rope_eval.cli import main
from rope_eval.errors import StoreError
from rope_eval.results.store import Store
from studies.scaling_laws.measured import Kind, Measured, MeasuredRun, measured_in
from studies.scaling_laws.recipes.grids import GRIDS
from studies.scaling_laws.tables import open_measured, read_tables, write_tables

GRID = GRIDS["lab"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return runs of every kind of two checkpoints of the grid."""
    store = Store(tmp_path / "runs")
    for base in (20.0, 81.0):
        one = recipe(f"base-{base:g}", base, TRAIN)
        put_curve(store, one, step(8 * base), noise=0.3)
        put_retrieval(store, one, 256, samples=11)
        put_distances(store, one, lambda distance: distance < 100)
        put_attention(store, one, lambda m: 1 / (1 + m))
    return store


def _pack(store: Store | Path, *words: str) -> int:
    root = store.root if isinstance(store, Store) else store
    return main(["lab", "pack", "--store", str(root), *words])


def _same(one: Measured, other: Measured) -> None:
    assert list(map(_facts, one.runs)) == list(map(_facts, other.runs))
    assert list(one.tables) == list(other.tables)
    for kind, table in one.tables.items():
        there = other.tables[kind]
        assert list(table) == list(there)
        for name in table:
            assert table[name].tolist() == there[name].tolist()


def _facts(run: MeasuredRun) -> list[object]:
    return [getattr(run, field.name) for field in fields(run)]


def test_the_store_as_tables(store: Store) -> None:
    measured = measured_in(store, GRID)
    curves = measured.tables[Kind.CURVE].set_index(["checkpoint", "method", "length"])
    nll = curves.loc[("base-20", "as trained", 4096), "nll"]
    assert nll.mean() == pytest.approx(1.5 * 4095 + 4096 - 160, rel=0.01)
    assert measured.tables[Kind.WINDOW]["length"].unique().tolist() == LENGTHS
    assert "hits" not in measured.tables[Kind.WINDOW]
    marks = measured.tables[Kind.RETRIEVAL]
    marks = marks[(marks["checkpoint"] == "base-20") & (marks["depth"] == 0.5)]
    right = marks[marks["length"] == 512].sort_values("sample")["right"].tolist()
    assert right == [sample in (0, 10) for sample in range(11)]  # not in the order of texts
    answers = measured.tables[Kind.DISTANCES]
    answers = answers[answers["checkpoint"] == "base-81"]
    assert sorted(answers["distance"]) == [n for n in range(24, 216) for _ in range(2)]
    assert (answers["right"] == (answers["distance"] < 100)).all()
    scores = measured.tables[Kind.ATTENTION]
    assert scores["distance"].unique().tolist() == EDGES[:-1]
    assert scores["part"].unique().tolist() == ["before", "beyond"]
    run = next(run for run in measured.runs if run.kind == Kind.ATTENTION)
    arrays = store.arrays(run.key)
    row = scores.set_index(["checkpoint", "document", "part", "distance"])
    row = row.loc[(run.checkpoint, 1, "beyond", 2)]
    at = EDGES.index(2)
    assert (row["sums"], row["squares"], row["counts"]) == (
        arrays["sums"][1, 1, at],
        arrays["squares"][1, 1, at],
        arrays["counts"][at],
    )


def test_tables_give_what_the_store_gives(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pack(store, "--output", str(tmp_path / "tables")) == 0
    assert "12 runs are in 6 tables" in capsys.readouterr().out
    _same(open_measured(tmp_path / "tables", GRID), measured_in(store, GRID))


def test_tables_pack_again_as_they_were(store: Store, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert _pack(store, "--output", str(one)) == 0
    assert _pack(one, "--output", str(two)) == 0
    for file in one.iterdir():
        assert (two / file.name).read_bytes() == file.read_bytes()


def test_the_tables_of_the_repository_read_as_they_were_written() -> None:
    """They were written before the study was a plan, with the request and text of that time."""
    tables = read_tables(Path(__file__).parents[2] / "results" / "lab")
    run = tables.runs[0]
    assert run.text == run.request["text"]
    curve = tables.tables[Kind.CURVE]
    assert curve["nll"].dtype == np.float32
    assert len(curve) == 435 * 48 * 57


def test_only_the_newest_of_each_is_packed(store: Store, tmp_path: Path) -> None:
    again = recipe("base-20", 20, TRAIN)
    put_curve(store, again, step(99), fingerprint="made again", started="2026-01-01")
    assert _pack(store, "--output", str(tmp_path / "one")) == 0
    packed = [run for run in read_tables(tmp_path / "one").runs if run.checkpoint == "base-20"]
    assert {run.kind for run in packed} == {Kind.CURVE, Kind.WINDOW}
    assert {run.request["fingerprint"] for run in packed} == {"made again"}


def test_a_failed_measurement_is_not_packed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_retrieval(store, recipe("base-10", 10, TRAIN), 0, error="no memory")
    assert _pack(store, "--output", str(tmp_path / "tables")) == 2
    assert "lab-retrieval of base-10 (as trained): no memory" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "lab-curve.parquet cannot be read"),
        ("gone", "lab-curve.parquet cannot be read"),
        ("other", "lab-curve.parquet is not of the runs in runs.parquet"),
    ],
)
def test_damaged_tables_are_an_error(
    store: Store, tmp_path: Path, damage: str, message: str
) -> None:
    measured = measured_in(store, GRID)
    write_tables(tmp_path, measured)
    file = tmp_path / "lab-curve.parquet"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "gone":
        file.unlink()
    else:  # of one run alone: the numbers would be another checkpoint's
        less = Measured(place=tmp_path, runs=measured.runs[:1], tables=measured.tables)
        write_tables(tmp_path / "less", less)
        shutil.copy(tmp_path / "less" / file.name, file)
    with pytest.raises(StoreError, match=message):
        read_tables(tmp_path)


def test_the_command_that_made_a_run_is_not_packed(store: Store, tmp_path: Path) -> None:
    measured = measured_in(store, GRID)
    first, *others = measured.runs
    with_command = {**first.provenance, "command": ["/home/me/x"]}
    runs = (replace(first, provenance=with_command), *others)
    write_tables(tmp_path, replace(measured, runs=runs))
    table = pd.read_parquet(tmp_path / "runs.parquet")
    assert list(table)[:4] == ["key", "kind", "checkpoint", "method"]
    assert json.loads(table.loc[0, "provenance"]) == {"started": "2025-01-01T00:00:00+00:00"}


def test_bad_input_packs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "tables"
    for words, message in (
        (["--preset", "lap"], "Did you mean 'lab'"),
        ([], "run the study's plan first"),
    ):
        assert _pack(tmp_path / "none", "--output", str(output), *words) == 2
        assert message in capsys.readouterr().err
    assert not output.exists()
