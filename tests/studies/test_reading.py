"""From the store to a `Laboratory`: the newest of each, of one text and one pre-training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import figure_store
from helpers.lab_store import (
    DOCUMENTS,
    LENGTHS,
    LOSS,
    TRAIN,
    only,
    put_attention,
    put_curve,
    put_window,
    read_laboratory,
    recipe,
    step,
)
from rope_eval.errors import DataError, StoreError
from rope_eval.results.store import Store
from studies.scaling_laws import reading
from studies.scaling_laws.measured import Kind, measured_in
from studies.scaling_laws.recipes.grids import GRIDS


def test_an_empty_store_says_what_to_run(store: Store) -> None:
    with pytest.raises(DataError, match=r"rope-eval run studies/scaling_laws/plan\.yaml"):
        read_laboratory(store)
    put_curve(store, recipe("base-20", 20, TRAIN), step(512), method="log")
    with pytest.raises(DataError, match=r"'as trained'.*rope-eval run"):
        read_laboratory(store)
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    with pytest.raises(DataError, match="grid 'gpu'"):  # whose checkpoints of that name are others
        reading.read_laboratory(measured_in(store, GRIDS["lab"]), GRIDS["gpu"], "gpu")


def test_texts_are_not_mixed(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_curve(store, recipe("base-41", 41, TRAIN), step(512), sha="bb", started="2026")
    with pytest.raises(DataError, match=r"base-20 .* 12 documents.*base-41 .* 12 documents"):
        read_laboratory(store)


def test_the_newest_run_counts(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(512), started="2025-01-02", lengths=LENGTHS)
    put_curve(store, one, step(512), started="2025-01-01", lengths=LENGTHS[:-1])
    curve = only(read_laboratory(store).curves.values())
    assert curve.lengths[-1] == 4096


def test_runs_of_older_weights_are_left_out(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(512), fingerprint="old", started="2025-01-01")
    put_curve(store, one, step(512), fingerprint="old", method="log", started="2025-01-01")
    put_curve(store, one, step(512), fingerprint="new", started="2025-01-02")
    assert set(read_laboratory(store).curves) == {("base-20", "as trained")}


def test_a_run_of_the_wrong_shape_is_named(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512), lengths=[32, 64, 128])
    grid = replace(GRIDS["lab"], recipes=GRIDS["lab"].recipes)
    measured = measured_in(store, grid)
    curves = measured.tables[Kind.CURVE].iloc[1:]
    less = replace(measured, tables={Kind.CURVE: curves})
    said = r"lab-curve of base-20 \(as trained\) is not whole: 35 rows are no 12 documents × 3"
    with pytest.raises(DataError, match=said):
        reading.read_laboratory(less, grid)


def test_a_run_that_failed_is_said(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_curve(store, recipe("base-41", 41, TRAIN), step(512), error="out of memory")
    lab = read_laboratory(store)
    assert [c.name for c in lab.checkpoints] == ["base-20"]
    assert set(lab.failed) == {
        "lab-curve of base-41 (as trained): out of memory",
        "lab-window of base-41 (as trained): out of memory",
    }


def test_windows_without_their_curve_are_not_there(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_window(store, recipe("base-41", 41, TRAIN), np.ones((DOCUMENTS, len(LENGTHS))))
    lab = read_laboratory(store)
    assert list(lab.in_windows) == [("base-20", "as trained")]


def test_attention_without_sums_by_document_is_an_error(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_attention(store, recipe("base-20", 20, TRAIN), lambda m: 1 / (1 + m))
    (run,) = (run for run in store.runs() if run.kind == "attention")
    store.put(run, replace=True)
    with pytest.raises(StoreError, match=rf"{run.key}\.zip has no sums by document"):
        read_laboratory(store)


def test_runs_that_are_not_the_studys_are_passed_over(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    figure_store.put_books(store, "base-20", linear_factor=3.0)
    figure_store.put_task(store, "base-20", metrics={"accuracy@64": 1.0}, train_length=128)
    figure_store.put_books(store, "another")
    (run,) = (run for run in measured_in(store, GRIDS["lab"]).runs if run.kind == Kind.CURVE)
    assert str(run) == "lab-curve of base-20 (as trained)"


def test_a_window_is_read_at_the_lengths_of_its_curve(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(512), lengths=[32, 64, 128, 256], started="2025-01-01")
    put_curve(store, one, step(512), lengths=[64, 256], started="2025-01-02")
    lab = read_laboratory(store)
    assert lab.in_windows["base-20", "as trained"].lengths == (32, 64, 128, 256)
    window = lab.in_window(only(lab.checkpoints))
    assert window.lengths == (64, 256)
    assert window.nll[0] == pytest.approx([63 * LOSS, 255 * LOSS])


def test_two_pretrainings_are_no_grid(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_curve(store, recipe("base-41", 41, 256, train=256), step(512))
    with pytest.raises(DataError, match="one grid has one pre-training"):
        read_laboratory(store)


def test_who_is_who(store: Store) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    for name, base, tune, seed, beyond in (
        ("base-1e4", 1e4, 128, 0, "keep"),
        ("base-1e4-seed1", 1e4, 128, 1, "keep"),
        ("base-1e4-drop", 1e4, 128, 0, "drop"),
        ("base-20", 20, 128, 0, "keep"),
        ("base-20-512", 20, 512, 0, "keep"),
    ):
        put_curve(store, recipe(name, base, tune, seed=seed, beyond=beyond), step(900))
    lab = read_laboratory(store)
    assert [c.name for c in lab.tuned(128)] == ["base-20", "base-1e4"]
    assert [c.name for c in lab.tuned(128, dropped=True)] == ["base-1e4-drop"]
    assert [c.name for c in lab.tuned(512)] == ["base-20-512"]
    assert lab.tune_lengths == (128, 512)
    assert [c.name for c in lab.seeds_of(lab.tuned(128)[1])] == ["base-1e4", "base-1e4-seed1"]
    assert (lab.train_length, lab.pretrain_theta, lab.head_dim) == (128, 1e4, 64)
    first = lab.tuned(128)[0]
    assert first.bound == 128 and first.critical_base == 1e4 and first.critical_dimension == 22
    assert lab.multiples(2, 32, 64) == (256, 4096)
