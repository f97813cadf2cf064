"""Curves, methods and local loss: the numbers of the store, with each model's own laws."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from helpers.figure_store import LENGTHS, TRAIN, perplexity, put_books, put_task
from rope_eval.errors import DataError, SpecError
from rope_eval.report.series import figure_data
from rope_eval.results.store import Store

JUMP = ((0, 1.0), (256, 3.0))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def test_a_curve_has_its_runs_own_bound_and_training_length(store: Store) -> None:
    put_books(store, "me/one", losses=JUMP, bound=300.0)
    put_books(store, "me/two", bound=None, tune=512)
    data = figure_data("curves", store)
    assert (data.kind, data.mark, data.series) == ("curves", "lines", "series")
    assert (data.x.scale, data.y.scale) == ("length", "perplexity")
    lines = dict(list(data.frame.groupby("series", sort=False)))
    assert list(lines) == ["me/one", "me/two"]
    one = lines["me/one"]
    assert one["length"].tolist() == list(LENGTHS)
    assert one["value"].tolist() == pytest.approx([perplexity(JUMP, n) for n in LENGTHS])
    assert set(one["bound"]) == {300.0} and set(one["train_length"]) == {TRAIN}
    assert lines["me/two"]["bound"].isna().all() and set(lines["me/two"]["train_length"]) == {512}
    assert data.notes == ()


def test_rows_and_lengths_are_chosen_in_their_order(store: Store) -> None:
    for name in ("me/a", "me/b", "me/c"):
        put_books(store, name)
    data = figure_data("curves", store, rows=["me/c,me/a"], lengths=[256, 1024])
    assert list(dict.fromkeys(data.frame["series"])) == ["me/c", "me/a"]
    assert sorted(set(data.frame["length"])) == [256, 1024]
    with pytest.raises(SpecError, match="there is no row 'me/d'"):
        figure_data("curves", store, rows=["me/d"])
    with pytest.raises(SpecError, match="nothing was measured at a length of 100"):
        figure_data("curves", store, lengths=[100])


def test_what_cannot_be_drawn_is_named(store: Store) -> None:
    with pytest.raises(DataError, match="the store has no perplexity by length"):
        figure_data("curves", store)
    put_task(store, "me/task", "piqa", metrics={"acc,none": 0.5})
    with pytest.raises(DataError, match="no perplexity by length: measure it with"):
        figure_data("curves", store)
    put_books(store, "me/one")
    data = figure_data("curves", store)
    assert data.notes == ("not drawn, as there is no perplexity by length: me/task",)
    with pytest.raises(DataError, match=r"no perplexty by length.*Did you mean 'perplexity'"):
        figure_data("curves", store, metric="perplexty")
    with pytest.raises(SpecError, match=r"no figure 'curve'\. Did you mean 'curves'"):
        figure_data("curve", store)
    with pytest.raises(SpecError, match="a metric is for curves, bases, methods"):
        figure_data("retrieval", store, metric="accuracy")


def test_accuracy_is_of_tasks_by_length_too_with_the_bound_of_the_same_weights(
    store: Store,
) -> None:
    weights = "a" * 64
    put_books(store, "me/one", losses=JUMP, fingerprint=weights, bound=333.0)
    put_task(
        store,
        "me/one",
        fingerprint=weights,
        metrics={"accuracy@128,none": 0.75, "accuracy@256,none": 0.25, "nll@128,none": 2.0},
    )
    put_task(store, "me/two", "niah_single_1", metrics={"4096,none": 0.5, "8192,none": -1})
    data = figure_data("curves", store, metric="accuracy")
    panels = {str(name): panel for name, panel in data.frame.groupby("panel", sort=False)}
    assert panels["retrieval"]["value"].tolist() == [0.75, 0.25]
    assert set(panels["retrieval"]["bound"]) == {333.0}
    assert panels["niah_single_1"][["length", "value"]].values.tolist() == [[4096, 0.5]]
    assert panels["niah_single_1"]["bound"].isna().all()
    (books,) = (panel for name, panel in panels.items() if name.startswith("builtin"))
    assert books["value"].tolist()[:2] == [1.0, 1.0] and books["value"].iloc[-1] < 0.3
    assert "its length was not run: me/two, niah_single_1 at 8192" in data.notes
    data = figure_data("curves", store, metric="nll", columns=["retrieval"])
    assert data.frame[["length", "value"]].values.tolist() == [[128, 2.0]]


def test_the_newest_stands_and_other_conditions_are_said(store: Store) -> None:
    put_task(store, metrics={"accuracy@128,none": 0.75}, started="2026-02")
    put_task(store, metrics={"accuracy@128,none": 0.5}, started="2026-01")
    put_books(store, "me/a")
    put_books(store, "me/b", dtype="bfloat16")
    data = figure_data("curves", store, metric="accuracy", columns=["retrieval"])
    assert data.frame["value"].tolist() == [0.75]
    assert "the newest of runs that differ: me/model, retrieval at 128" in data.notes
    (note,) = figure_data("curves", store, rows=["me/a,me/b"]).notes
    assert note.startswith("not asked alike in builtin")
    assert note.endswith("dtype: float32 (me/a); bfloat16 (me/b)")


def test_local_loss_is_of_the_tokens_near_the_length(store: Store) -> None:
    put_books(store, losses=JUMP)
    data = figure_data("curves", store, metric="local-loss", lengths=[128, 256, 290, 304, 1000])
    assert data.frame["length"].tolist() == [128, 256, 290, 304, 1000]
    begin = round(290 / 2**0.25)
    mixed = (256 - begin + 3 * (290 - 256)) / (290 - begin)
    assert data.frame["value"].tolist() == pytest.approx([1, 1, mixed, 3, 3], abs=1e-6)
    assert data.frame["n"].iloc[2] == 2 * (290 - begin)
    assert data.frame["low"].iloc[0] == data.frame["high"].iloc[0] == pytest.approx(1)
    whole = figure_data("curves", store, metric="local-loss").frame
    assert {32, 64, 1024} <= set(whole["length"]) and len(whole) == 41
    with pytest.raises(SpecError, match=r"known of lengths from 32 to 1024.*got 2048"):
        figure_data("curves", store, metric="local-loss", lengths=[64, 2048])
    put_books(store, "me/longer", lengths=(64, 2048))
    data = figure_data("curves", store, metric="local-loss", lengths=[64, 2048])
    assert sorted(data.frame[["row", "length"]].values.tolist()) == [
        ["me/longer", 64],
        ["me/longer", 2048],
        ["me/model", 64],
    ]
    assert "not measured at a length: me/model at 2048" in data.notes


def test_local_loss_of_a_pass_a_length_is_at_the_runs_lengths(store: Store) -> None:
    put_books(store, losses=JUMP, dynamic_ntk="per_sequence", train_length=TRAIN)
    data = figure_data("curves", store, metric="local-loss")
    assert data.frame["length"].tolist() == list(LENGTHS)
    assert data.frame["value"].tolist() == pytest.approx([1, 1, 1, 3, 3], abs=1e-6)
    with pytest.raises(SpecError, match="at these alone; got 100"):
        figure_data("curves", store, metric="local-loss", lengths=[100])


def test_documents_that_are_gone_are_said(store: Store) -> None:
    put_books(store, "me/one")
    put_books(store, "me/two")
    key = next(run for run in store.runs() if run.request["model"] == "me/one")
    store.documents.place(key.results["documents"][0]).unlink()
    data = figure_data("curves", store, metric="local-loss")
    assert set(data.frame["series"]) == {"me/two"}
    assert any("no longer in the store" in note and "me/one" in note for note in data.notes)


def test_the_settings_of_one_model_are_beside_each_other(store: Store) -> None:
    weights = "b" * 64
    more = {"rope_theta": 1e5, "train_length": TRAIN, "fingerprint": weights}
    put_books(store, "me/one", started="1", **more)
    put_books(store, "me/one", started="2", log_scale=True, **more)
    put_books(store, "me/one", started="3", yarn_factor=8, losses=JUMP, **more)
    put_books(store, "me/two")
    data = figure_data("methods", store)
    assert set(data.frame["panel"]) == {"me/one"}
    lines = dict(list(data.frame.groupby("series", sort=False)))
    assert list(lines) == ["as it is", "log_scale=true", "yarn_factor=8"]
    assert lines["yarn_factor=8"]["value"].iloc[-1] == pytest.approx(perplexity(JUMP, 1024))
    (note,) = data.notes
    assert note.startswith("not drawn, as it has one setting alone: me/two, builtin")
    with pytest.raises(DataError, match="no model was measured under two settings"):
        figure_data("methods", store, rows=["me/two"])


def test_a_long_setting_is_named_without_what_the_laws_alone_take(store: Store) -> None:
    put_books(store, "me/one", log_scale=True, train_length=TRAIN, pretrain_theta=1e4)
    data = figure_data("curves", store)
    assert set(data.frame["series"]) == {"me/one, log_scale=True"}
    put_books(store, "me/one", log_scale=True, train_length=64, pretrain_theta=1e4)
    names = set(figure_data("curves", store).frame["series"])
    assert len(names) == 2 and all("train_length=" in name for name in names)


def test_two_checkpoints_of_one_name_are_told_apart(store: Store) -> None:
    put_books(store, "me/one", fingerprint="c" * 64)
    put_books(store, "me/one", fingerprint="d" * 64)
    names = set(figure_data("curves", store).frame["series"])
    assert names == {"me/one (ccccccc)", "me/one (ddddddd)"}


def test_csv_of_the_data_reads_back(store: Store, tmp_path: Path) -> None:
    import pandas as pd

    put_books(store, "me/one", losses=JUMP)
    data = figure_data("curves", store)
    (tmp_path / "data.csv").write_text(data.csv())
    read = pd.read_csv(tmp_path / "data.csv")
    assert read["value"].tolist() == data.frame["value"].tolist()
    assert list(read.columns) == list(data.frame.columns)
    assert math.isnan(figure_data("curves", store).frame["base"].iloc[0]) is False


def test_a_number_past_the_largest_is_said(store: Store) -> None:
    put_books(store, losses=((0, 1.0), (100, 1000.0)))
    data = figure_data("curves", store)
    assert data.frame["length"].tolist() == [64, 128, 256]
    (note,) = data.notes
    assert note.startswith("past the largest number: me/model, builtin") and "at 1024" in note
