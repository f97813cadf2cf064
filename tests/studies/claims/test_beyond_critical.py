"""Clip and drop against the checkpoint as trained."""

from __future__ import annotations

import pytest

from helpers.lab_store import LOSS, TRAIN, put_curve, put_method, read_laboratory, recipe, step
from rope_eval.results.store import Store
from studies.scaling_laws.claims import beyond_critical
from studies.scaling_laws.names import METHODS


def test_clip_and_drop(store: Store) -> None:
    own = recipe("base-1e4", 1e4, TRAIN)
    put_curve(store, own, step(128, 2.0))
    put_method(store, own, "clip", step(128, 1.0))
    put_method(store, own, "drop", step(128, 3.0))
    put_curve(store, recipe("base-1e4-drop", 1e4, TRAIN, beyond="drop"), step(512, 1.0))
    lab = read_laboratory(store)
    found = beyond_critical.find(lab)
    assert found.verdict == "2 supported"
    rows = {(r["experiment"], r["length"]): r for r in found.numbers["experiments"]}
    assert set(rows) == {
        (name, n)
        for name in ("as trained", "clip", "drop", "trained with drop")
        for n in (256, 512, 1024, 2048, 4096)
    }
    assert rows["clip", 1024]["local_nll"]["value"] == pytest.approx(LOSS + 1)
    assert rows["trained with drop", 1024]["difference"]["value"] == pytest.approx(
        (512 - 2 * 896) / 1023, rel=1e-2
    )
    assert rows["as trained", 1024]["difference"]["value"] == 0


def test_the_experiments_are_those_that_are_measured() -> None:
    assert {beyond_critical.CLIP, beyond_critical.DROP} <= set(METHODS)
