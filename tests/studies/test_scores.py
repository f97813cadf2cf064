"""Sums over documents, their intervals, and losses in windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.lab_store import (
    DOCUMENTS,
    LENGTHS,
    LOSS,
    SETS,
    TRAIN,
    laboratory_of,
    only,
    put_curve,
    read_laboratory,
    recipe,
    step,
)
from rope_eval.results.stats import RESAMPLES
from rope_eval.results.store import Store
from studies.scaling_laws import scores
from studies.scaling_laws.sampling import Sample


def test_cumulative_scores_are_sums_over_counts(store: Store) -> None:
    lab = laboratory_of(store, {(20.0, TRAIN): 512}, noise=0.3)
    curve = only(lab.curves.values())
    at = curve.index(256)
    want = curve.nll[:, at].sum() / (DOCUMENTS * 255)
    estimate = lab.sample.estimate(scores.cumulative_nll(curve, lab.sample, 256))
    assert estimate.value == pytest.approx(want)
    assert scores.perplexities(curve)[at] == pytest.approx(math.exp(want))
    for number, value in enumerate(estimate.sets):
        assert value == pytest.approx(curve.nll[number::SETS, at].sum() / (4 * 255))
    accuracy = scores.cumulative_accuracy(curve, lab.sample, 256)[0]
    assert accuracy == pytest.approx(scores.accuracies(curve)[at])


def test_the_bootstrap_interval_is_that_of_a_mean() -> None:
    sample = Sample(400, SETS)
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 1.0, 400)
    estimate = sample.estimate(sample.weights @ values / sample.totals[:, 0])
    half = 1.96 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.01)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.01)
    assert estimate.low < 2.0 < estimate.high
    assert len(sample.weights) == 1 + SETS + RESAMPLES
    assert (sample.weights[0] == 1).all() and (sample.weights[1 : 1 + SETS].sum(0) == 1).all()
    assert estimate.sets == pytest.approx([values[k::SETS].mean() for k in range(SETS)])


def test_windows_are_two_eighths_of_an_octave(store: Store) -> None:
    curve = only(laboratory_of(store, {(20.0, TRAIN): 512}).curves.values())
    spans = scores.windows(curve.lengths)
    assert all(end - begin == 2 for begin, end in spans) and len(spans) == len(LENGTHS) - 2
    lengths, nll = scores.local_curve(curve)
    assert nll[lengths < 512] == pytest.approx(LOSS)
    assert nll[lengths > 512 * 1.2] == pytest.approx(LOSS + 1)


def test_several_passes_have_no_local_loss(store: Store) -> None:
    put_curve(
        store,
        recipe("a", 1e5, TRAIN),
        step(512),
        method="ntk per_sequence",
    )
    put_curve(store, recipe("a", 1e5, TRAIN), step(512))
    lab = read_laboratory(store)
    curve = lab.curves["a", "ntk per_sequence"]
    for call in (
        lambda: scores.local_curve(curve),
        lambda: scores.max_context(curve, curve, lab.sample),
        lambda: scores.local_nll(curve, lab.sample, [(0, 2)]),
    ):
        with pytest.raises(AssertionError, match="no local loss"):
            call()
    assert scores.cumulative_nll(curve, lab.sample, 256)[0] == pytest.approx(LOSS)


def test_paired_differences_do_not_see_what_documents_share(store: Store) -> None:
    one, other = recipe("a", 1e5, TRAIN), recipe("b", 1e4, TRAIN)
    put_curve(store, one, step(512), noise=1.0)
    put_curve(store, other, step(256), noise=1.0)
    lab = read_laboratory(store)
    a, b = lab.curves["a", "as trained"], lab.curves["b", "as trained"]
    difference = scores.compare(lab, a, b, 1024)
    assert difference.difference.value == pytest.approx(-256 / 1023, rel=1e-4)
    assert difference.difference.high - difference.difference.low < 1e-4
    assert difference.nll.high - difference.nll.low > 0.01
