"""Bases, contexts, retrieval, attention and periods: the numbers of known stores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from helpers.figure_store import TRAIN, put_attention, put_books, put_in_windows, put_task
from rope_eval import theory
from rope_eval.errors import DataError, SpecError
from rope_eval.report.series import figure_data
from rope_eval.report.series.periods import NEVER, SEEN, WITHIN, Asked, periods
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def test_bases_are_in_their_order_and_apart_from_other_settings(store: Store) -> None:
    for base in (1e6, 500.0, 1e5):
        put_books(store, "me/one", rope_theta=base, losses=((0, base / 1e6 + 1),))
    put_books(store, "me/two")  # its config's own base, 1e4
    put_books(store, "me/one", rope_theta=500.0, log_scale=True, train_length=TRAIN)
    data = figure_data("bases", store)
    assert (data.mark, data.colour and data.colour.scale) == ("heat", "perplexity")
    assert list(dict.fromkeys(data.frame["series"])) == ["500", "1e4", "1e5", "1e6"]
    assert list(dict.fromkeys(data.frame["base"])) == [500.0, 1e4, 1e5, 1e6]
    last = data.frame[data.frame["series"] == "1e6"]
    assert last["value"].tolist() == pytest.approx([math.exp(2)] * 5)
    assert data.notes == (
        "not drawn, as there is no other base like it: me/one, rope_theta=500,log_scale=True",
    )
    put_books(store, "me/three", rope_theta=500.0)
    names = list(dict.fromkeys(figure_data("bases", store).frame["series"]))
    assert names[:2] == ["500 (me/one, rope_theta=500)", "500 (me/three, rope_theta=500)"]


def test_a_map_needs_two_bases(store: Store) -> None:
    put_books(store, "me/one")
    with pytest.raises(DataError, match="needs two bases and two lengths"):
        figure_data("bases", store)


def test_the_context_ends_where_the_loss_jumps(store: Store) -> None:
    put_books(store, "me/holds", bound=300.0, documents=3)
    put_books(store, "me/breaks", losses=((0, 1.0), (256, 2.0)), bound=250.0)
    put_books(store, "me/lawless", bound=None)
    put_books(store, "me/moving", dynamic_ntk="per_sequence", train_length=TRAIN)
    put_books(store, "me/short", lengths=(64, 128, 140))
    data = figure_data("contexts", store)
    points = {point["row"]: point for point in data.frame.to_dict("records")}
    assert set(points) == {"me/holds", "me/breaks"}
    assert 256 / 1.2 < points["me/breaks"]["value"] <= 256
    assert not points["me/breaks"]["beyond"]
    assert points["me/holds"]["value"] == points["me/holds"]["longest"] == 1024
    assert points["me/holds"]["beyond"] and points["me/holds"]["n"] == 3
    assert points["me/breaks"]["low"] == points["me/breaks"]["high"]  # its documents are alike
    assert points["me/breaks"]["bound"] == 250 and points["me/breaks"]["above"]
    assert "not drawn, as its bound is not known: me/lawless" in data.notes
    moving = [note for note in data.notes if "pass of its own: me/moving" in note]
    assert len(moving) == 1 and moving[0].startswith("no context, as each of its lengths")
    assert any(note.startswith("no context, as it was measured up to") for note in data.notes)
    with pytest.raises(DataError, match="no run of whole books has a measured context"):
        figure_data("contexts", store, rows=["me/lawless"])
    with pytest.raises(SpecError, match="of all lengths of a run"):
        figure_data("contexts", store, lengths=[64])


def test_a_context_is_told_by_the_same_tokens_in_windows(store: Store) -> None:
    hard = ((0, 1.0), (200, 2.0))  # a text that costs more from 200 on, wherever it is read
    put_books(store, "me/one", losses=hard)
    (point,) = figure_data("contexts", store).frame.to_dict("records")
    assert point["value"] < 200 and point["reference"].startswith("the last half of")
    put_in_windows(store, "me/one", losses=hard, documents=3)
    data = figure_data("contexts", store)
    (point,) = data.frame.to_dict("records")
    assert point["beyond"] and point["reference"].startswith("the same tokens")
    assert len(data.notes) == 1
    put_books(store, "me/two", losses=((0, 1.0), (200, 2.0), (512, 3.0)))
    put_in_windows(store, "me/two", losses=hard, length=900)
    put_in_windows(store, "me/two", window=64)
    data = figure_data("contexts", store, rows=["me/two"])
    (point,) = data.frame.to_dict("records")
    assert 512 / 1.2 < point["value"] <= 512 and point["longest"] == 900
    put_books(store, "me/three", losses=hard)
    assert data.notes != (notes := figure_data("contexts", store).notes)
    assert notes[-1].startswith("not paired") and notes[-1].endswith("ones: me/three")


def test_retrieval_by_length_and_depth(store: Store) -> None:
    put_task(
        store,
        "me/one",
        metrics={
            "accuracy@64,none": 0.5,
            "accuracy@128,none": 0.25,
            "accuracy_depth_0@64,none": 0.75,
            "accuracy_depth_0@128,none": 0.5,
            "accuracy_depth_0.5@64,none": 0.25,
            "accuracy_depth_0.5@128,none": 0.0,
            "nll@64,none": 1.0,
        },
        metadata={"depths": [0.0, 0.5]},
    )
    put_task(
        store,
        "me/two",
        metrics={"accuracy@64,none": 1.0, "accuracy@128,none": 0.9},
        metadata={"depths": [0.25]},
    )
    put_task(store, "me/old", metrics={"accuracy@64,none": 1.0}, metadata={"depths": [0.0, 1.0]})
    drawn = {"accuracy@64,none": 1.0, "accuracy@128,none": 0.9}
    put_task(store, "me/drawn", metrics=drawn, metadata={"distances": [32, 128]})
    data = figure_data("retrieval", store)
    cells = data.frame[["panel", "depth", "length", "value"]].values.tolist()
    assert cells == [
        ["me/one", 0.0, 64, 0.75],
        ["me/one", 0.0, 128, 0.5],
        ["me/one", 0.5, 64, 0.25],
        ["me/one", 0.5, 128, 0.0],
        ["me/two", 0.25, 64, 1.0],
        ["me/two", 0.25, 128, 0.9],
    ]
    assert any("before depths were kept" in note and "me/old" in note for note in data.notes)
    assert not any("before depths were kept" in note and "me/drawn" in note for note in data.notes)
    with pytest.raises(DataError, match="two lengths"):
        figure_data("retrieval", store, lengths=[64])
    with pytest.raises(DataError, match="no accuracy of retrieval by depth"):
        figure_data("retrieval", store, rows=["me/old"])


def test_attention_of_stored_profiles(store: Store) -> None:
    put_books(store)
    with pytest.raises(DataError, match="no attention scores"):
        figure_data("attention", store)
    put_attention(store, "me/one")
    put_attention(store, "me/one", log_scale=True, train_length=TRAIN)
    data = figure_data("attention", store)
    names = ["me/one", "me/one, log_scale=True"]
    assert list(dict.fromkeys(data.frame["panel"])) == names
    one = data.frame[data.frame["panel"] == "me/one"]
    before, beyond = (one[one["part"] == part] for part in ("before", "beyond"))
    assert before["value"].tolist() == [1, 2, 5] and beyond["value"].tolist() == [-2, -2, -2]
    assert before["position"].tolist() == pytest.approx([0.5, 3**0.5, (4 * 62) ** 0.5])
    assert before["low"].tolist() == [0.75, 1.75, 4.75] and set(beyond["std"]) == {0.5}
    assert set(one["bound"]) == {300.0} and set(one["critical_dimension"]) == {22}
    with pytest.raises(SpecError, match="there is no row 'me/two'"):
        figure_data("attention", store, rows=["me/two"])
    data = figure_data("attention", store, rows=["*log*"])
    assert set(data.frame["panel"]) == {"me/one, log_scale=True"}


def config(folder: Path, **more: object) -> Path:
    folder.mkdir()
    given = {
        "model_type": "mine",
        "hidden_size": 128,
        "num_attention_heads": 2,
        "rope_theta": 1e4,
        "max_position_embeddings": 128,
    }
    (folder / "config.json").write_text(json.dumps(given | more))
    return folder


def test_periods_are_the_theorys(tmp_path: Path) -> None:
    model = config(tmp_path / "plain")
    asked = {
        "own": Asked(model=model, rope=RopeSpec()),
        "linear": Asked(model=model, rope=RopeSpec(linear_factor=4)),
        "base": Asked(model=model, rope=RopeSpec(rope_theta=1e6, pretrain_theta=1e4)),
    }
    data = periods(asked)
    panels = {str(name): panel for name, panel in data.frame.groupby("panel", sort=False)}
    own = theory.periods(1e4, head_dim=64)
    assert panels["own"]["period"].tolist() == pytest.approx(own)
    assert panels["linear"]["period"].tolist() == pytest.approx([4 * one for one in own])
    assert panels["base"]["period"].tolist() == pytest.approx(theory.periods(1e6, head_dim=64))
    critical = theory.critical_dimension(64, 128)
    assert set(data.frame["critical_dimension"]) == {critical}
    kinds = panels["base"]["series"].tolist()
    within = sum(period <= 128 for period in theory.periods(1e6, head_dim=64))
    assert kinds == [WITHIN] * within + [SEEN] * (critical // 2 - within) + [NEVER] * (
        32 - critical // 2
    )
    assert set(panels["own"]["train_length"]) == {128}


def test_periods_of_a_config_that_scales_are_its_settings(tmp_path: Path) -> None:
    scaled = config(tmp_path / "scaled", rope_scaling={"rope_type": "linear", "factor": 2.0})
    data = periods({"m": Asked(model=scaled, rope=RopeSpec())})
    own = theory.periods(1e4, head_dim=64)
    assert data.frame["period"].tolist() == pytest.approx([2 * one for one in own])
    with pytest.raises(DataError, match="a directory with a config"):
        periods({"m": Asked(model=tmp_path / "none", rope=RopeSpec())})


def test_periods_follow_the_length_under_dynamic_ntk(tmp_path: Path) -> None:
    model = config(tmp_path / "plain")
    rope = RopeSpec(dynamic_ntk="per_sequence")
    asked = {str(n): Asked(model=model, rope=rope, length=n) for n in (128, 512)}
    panels = dict(list(periods(asked).frame.groupby("panel", sort=False)))
    assert panels["128"]["period"].tolist() == pytest.approx(theory.periods(1e4, head_dim=64))
    assert panels["512"]["period"].iloc[-1] > 3 * panels["128"]["period"].iloc[-1]
