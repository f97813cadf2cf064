"""Measured max contexts against T_extra."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.lab_store import TRAIN, laboratory_of, law
from helpers.verdicts import grades
from rope_eval.labels import base_label
from rope_eval.results.store import Store
from studies.scaling_laws.claims import bound
from studies.scaling_laws.sampling import plain


def test_measured_contexts_on_the_law_agree(store: Store) -> None:
    at = {
        (base, tune): law(base, tune) * 1.06  # a window begins a little before what breaks it
        for tune in (128, 512)
        for base in (1e4, 1e5, 1e6, 3e6, 1e7)
    }
    lab = laboratory_of(store, at, noise=0.02)
    points = bound.above(bound.larger(lab))
    assert {p.checkpoint.base for p in points} == {1e5, 1e6, 3e6, 1e7}
    result = bound.fit(points, lab.sample)
    assert result.slope.value == pytest.approx(1, abs=0.08)
    assert result.slope.low <= result.slope.value <= result.slope.high
    assert result.geometric_mean_ratio.value == pytest.approx(1, abs=0.1)
    assert result.beyond_longest == 0 and 1 / 1.3 < result.worst_ratio < 1.3
    found = bound.find(lab)
    given = grades(found)
    for law_of in ("tuned at T_train (Theorem 2)", "tuned longer (Theorem 3)"):
        assert given[f"{law_of}: the context is T_extra"] == "supported"
    assert given["the context grows with T_extra, at a slope of 1"] == "supported"
    # a window begins before what breaks it: at 1.06 times the law most contexts read as shorter
    at_least = [c for c in found.checks if c.statement == "the context is at least T_extra"]
    assert {c.at: c.holds for c in at_least} == {
        f"{base_label(p.checkpoint.base)} at {p.checkpoint.tune_length}": (
            p.estimate.low >= p.checkpoint.bound
            or (None if p.estimate.high >= p.checkpoint.bound else False)
        )
        for p in points
    }
    assert {c.holds for c in at_least} > {False}
    # by hand
    x = np.log([law(p.checkpoint.base, p.checkpoint.tune_length) for p in points])
    y = np.log([p.estimate.value for p in points])
    assert result.slope.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert result.geometric_mean_ratio.value == pytest.approx(math.exp((y - x).mean()))


def test_points_beyond_have_no_part_in_the_slope(store: Store) -> None:
    lab = laboratory_of(store, {(1e5, TRAIN): 400, (3e5, TRAIN): 800, (1e6, TRAIN): 1e9})
    result = bound.fit(bound.larger(lab), lab.sample)
    assert (result.points, result.beyond_longest) == (3, 1)
    assert (result.worst_base, result.worst_tune_length) == (1e6, TRAIN)
    assert result.worst_ratio == pytest.approx(4096 / law(1e6, TRAIN))
    assert math.isfinite(result.slope.value)
    alone = bound.fit([p for p in bound.larger(lab) if p.beyond], lab.sample)
    assert math.isnan(alone.slope.value) and plain(alone.slope)["value"] is None
