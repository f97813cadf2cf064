"""Where the improvement of smaller bases speeds up."""

from __future__ import annotations

import math

import pytest

from helpers.lab_store import TRAIN, put_curve, read_laboratory, recipe, step
from helpers.verdicts import grades
from rope_eval.results.store import Store
from studies.scaling_laws.claims import pivots


def test_the_steepest_segment_against_the_pivots(store: Store) -> None:
    # the loss past T_train: 2 nats from 300 on, then falls to none at 20 within 81 → 41
    heights = {10.0: 0.0, 20.0: 0.05, 41.0: 0.1, 81.0: 1.8, 300.0: 1.9, 1e4: 2.0}
    for base, height in heights.items():
        put_curve(store, recipe(f"base-{base:g}", base, TRAIN), step(TRAIN, height), noise=0.02)
    lab = read_laboratory(store)
    result = pivots.improvement(lab, 1024)
    assert (result.steepest.low, result.steepest.high) == (41, 81)
    assert result.steepest.share_steepest == 1
    part = (1024 - TRAIN) / 1023
    assert result.steepest.slope.value == pytest.approx(1.7 * part / math.log(81 / 41), rel=2e-3)
    change = {p.number: p.change_of_slope.sign for p in result.pivots}
    assert change == {1: 1, 2: -1, 3: 1}
    assert [round(p.measured_base) for p in result.pivots] == [81, 41, 20]
    assert grades(pivots.find(lab)) == {
        "the improvement speeds up below β1": "supported",
        "the improvement speeds up below β2": "contradicted",
        "the improvement speeds up below β3": "supported",
        "the improvement is steepest below β1": "supported",
    }
