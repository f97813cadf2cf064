"""Needles at every distance: ranges, gaps, and what follows for the bound."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import TRAIN, only, put_curve, put_distances, read_laboratory, recipe, step
from helpers.verdicts import answers
from rope_eval.errors import DataError
from rope_eval.results.stats import wilson
from rope_eval.results.store import Store
from studies.scaling_laws.claims import distances
from studies.scaling_laws.claims.distances import everything


def test_ranges_gaps_and_the_bound(store: Store) -> None:
    small = recipe("base-20", 20, TRAIN)  # B is negative from 11 tokens on
    put_curve(store, small, step(1e9))
    drawn = put_distances(store, small, lambda n: 56 <= n < 72 or 80 <= n < 88)
    lab = read_laboratory(store)
    one = only(everything(lab))
    assert one.marks.distance.tolist() == list(drawn.drawn)
    assert one.found == [(56, 71), (80, 87)]
    assert one.gaps == [(24, 55), (72, 79)]
    assert one.lost == [(24, 55), (72, 79), (88, 215)]
    assert one.counts[:5] == ((0, 16), (0, 16), (0, 16), (0, 16), (16, 16))
    assert one.intervals[4] == wilson(1.0, 16)
    assert one.share == pytest.approx(24 / 192)
    found = distances.find(lab)
    assert answers(found) == {
        ("needles are found at some distance within T_tune", "base-20"): True,
        ("no needle is found past the bound", "base-20"): False,
    }
    assert "at 56–71, 80–87" in found.headline


def test_up_to_the_bound(store: Store) -> None:
    # B of base 300 is negative from 102 tokens on
    for name, until, holds in (("base-300", 112, True), ("other", 64, False), ("third", 92, None)):
        one = recipe(name, 300, TRAIN)
        put_curve(store, one, step(1e9))
        put_distances(store, one, lambda n, until=until: n < until)
        found = answers(distances.find(read_laboratory(store)))
        statement = "needles are found at every distance up to the bound and T_tune"
        assert found[statement, name] is holds
        assert found["no needle is found past the bound", name] is (until != 112)


def test_one_that_finds_none_is_a_failed_control_alone(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(1e9))
    put_distances(store, one, lambda n: n > 140)  # past T_tune alone
    found = distances.find(read_laboratory(store))
    assert [(c.control, c.holds) for c in found.checks] == [(True, False)]


def test_bins_without_samples_are_open(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(1e9))
    put_distances(store, one, lambda n: True)
    some = only(everything(read_laboratory(store)))
    kept = some.marks.distance != 40
    kept &= (some.marks.distance < 40) | (some.marks.distance > 47)
    marks = distances.AtDistances(
        checkpoint=some.checkpoint,
        method=some.marks.method,
        distance=some.marks.distance[kept],
        right=some.marks.right[kept],
        nll=some.marks.nll[kept],
    )
    holed = distances.Found(marks=marks, feasible=some.feasible)
    assert holed.counts[2] == (0, 0) and np.isnan(holed.accuracy[2])
    assert holed.found == [(24, 39), (48, 215)] and holed.lost == []
    assert holed.holds_up_to(215) is None


def test_none_were_measured(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(1e9))
    with pytest.raises(DataError, match="no needles at distances"):
        distances.find(read_laboratory(store))
