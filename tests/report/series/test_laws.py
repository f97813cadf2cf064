"""The laws of a run: its own record, a run of the same, or the catalogue's row of the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.figure_store import TRAIN, put_books, put_task
from rope_eval import catalogue, theory
from rope_eval.report.series.laws import Law, RunLaws
from rope_eval.results.identity import model_fingerprint
from rope_eval.results.naming import Names
from rope_eval.results.store import Store

LAB = catalogue.find("lab/base-1e6")
METRICS = {"accuracy@64,none": 0.5}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def laws(store: Store) -> RunLaws:
    return RunLaws({run.key: run for run in store.runs()}, Names())


def test_what_a_run_recorded(store: Store) -> None:
    own = put_books(store, "me/own", bound=300.0)
    asked = put_books(store, "me/asked", bound=None, tune=512, rope_theta=500.0)
    found = laws(store)
    assert found.of(own) == Law(base=1e4, bound=300.0, train_length=TRAIN)
    assert found.of(asked) == Law(base=500.0, bound=None, train_length=512)


def test_a_task_has_the_laws_of_the_same_weights_and_setting(store: Store) -> None:
    weights = {"fingerprint": "a" * 64}
    put_books(store, "me/one", bound=300.0, **weights)
    put_books(store, "me/one", bound=700.0, rope_theta=1e6, **weights)
    same = put_task(store, "me/other-name", metrics=METRICS, rope_theta=1e6, **weights)
    other = put_task(store, "me/one", metrics=METRICS, log_scale=True, train_length=64, **weights)
    unknown = put_task(store, "me/unknown", metrics=METRICS, rope_theta=20.0)
    found = laws(store)
    assert found.of(same).bound == 700.0
    assert found.of(other) == Law()
    assert found.of(unknown) == Law(base=20.0)


def test_a_task_has_the_laws_of_the_catalogues_weights(store: Store) -> None:
    weights = model_fingerprint(LAB.require_checkpoint())
    row = put_task(store, metrics=METRICS, fingerprint=weights, **LAB.rope.to_dict())
    bound = theory.extrapolation_bound(
        1e6, head_dim=64, train_length=128, tune_length=128, pretrain_theta=1e4
    )
    assert laws(store).of(row) == Law(base=1e6, bound=pytest.approx(bound), train_length=128)
