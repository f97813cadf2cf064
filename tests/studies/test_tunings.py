"""A tuning over its seeds: the mean, and the spread that a tuning of one seed borrows."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import TRAIN, put_curve, put_method, read_laboratory, recipe, step
from rope_eval.results.store import Store
from studies.scaling_laws import tunings
from studies.scaling_laws.claims import bases
from studies.scaling_laws.document import find_all
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.scores import compare, cumulative_nll

LOSSES = (1.5, 1.6, 1.4)  # of the seeds of base 20


def laboratory_of(store: Store) -> Laboratory:
    put_curve(store, recipe("pretrained", 1e4), step(1e9))
    for seed, loss in enumerate(LOSSES):
        one = recipe("base-20" + (f"-seed{seed}" if seed else ""), 20, TRAIN, seed=seed)
        put_curve(store, one, step(1e9, 0.0, loss))
        put_method(store, one, "log", step(1e9, 0.0, loss - 0.3))
    once = recipe("base-1e5", 1e5, TRAIN)
    put_curve(store, once, step(1e9, 0.0, 1.55))
    put_method(store, once, "clip", step(1e9, 0.0, 1.45))
    return read_laboratory(store)


def named(lab: Laboratory, name: str) -> Checkpoint:
    (found,) = (c for c in lab.checkpoints if c.name == name)
    return found


def test_the_mean_is_shown_and_seeds_widen_the_interval(store: Store) -> None:
    lab = laboratory_of(store)
    rows = cumulative_nll(tunings.trained(lab, named(lab, "base-20")), lab.sample, 1024)
    assert rows[:4] == pytest.approx(np.mean(LOSSES), rel=1e-6)  # in all sets: no seed effects
    # the documents do not differ: what is left is the mean of three effects, √(3/2) · ±0.1 or 0
    assert rows[4:].mean() == pytest.approx(1.5, abs=0.003)
    effect = np.std([0, 0.1, -0.1]) * np.sqrt(3 / 2)
    assert rows[4:].std() == pytest.approx(effect / np.sqrt(3), rel=0.05)


def test_a_tuning_that_was_run_once_borrows_the_spread(store: Store) -> None:
    lab = laboratory_of(store)
    rows = cumulative_nll(tunings.trained(lab, named(lab, "base-1e5")), lab.sample, 1024)
    assert rows[0] == pytest.approx(1.55, rel=1e-6)
    assert rows[4:].std() == pytest.approx(np.std([0, 0.1, -0.1]) * np.sqrt(3 / 2), rel=0.05)
    other = cumulative_nll(tunings.trained(lab, named(lab, "base-20")), lab.sample, 1024)
    assert abs(np.corrcoef(rows[4:], other[4:])[0, 1]) < 0.05  # seeds of their own


def test_a_pre_training_has_no_seeds_to_borrow(store: Store) -> None:
    lab = laboratory_of(store)
    assert tunings.trained(lab, named(lab, "pretrained")).effects is None


def test_methods_are_paired_by_seed(store: Store) -> None:
    lab = laboratory_of(store)
    both = tunings.pair(lab, named(lab, "base-20"), "log")
    assert both is not None
    found = compare(lab, *both, 1024).difference
    assert (found.value, found.low, found.high) == pytest.approx((-0.3, -0.3, -0.3), rel=1e-5)
    once = tunings.pair(lab, named(lab, "base-1e5"), "clip")
    assert once is not None and once[0].effects is None  # no seed was measured under it
    assert tunings.pair(lab, named(lab, "base-1e5"), "log") is None


def test_windows_are_paired_by_seed(store: Store) -> None:
    lab = laboratory_of(store)
    curve, in_window = tunings.with_window(lab, named(lab, "base-20"))
    rows = [cumulative_nll(one, lab.sample, 1024) for one in (curve, in_window)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-5) and rows[0][4:].std() > 0.03


def test_a_statement_that_one_seed_contradicts_does_not_stand(store: Store) -> None:
    for seed, height in ((0, 1.0), (1, 1.0), (2, 0.4)):
        name = "base-1e4" + (f"-seed{seed}" if seed else "")
        put_curve(store, recipe(name, 1e4, TRAIN, seed=seed), step(128, height))
    put_curve(store, recipe("base-20", 20, TRAIN), step(128, 0.5))
    put_curve(store, recipe("base-1e5", 1e5, TRAIN), step(1e9))
    lab = read_laboratory(store)
    assert lab.seeds == (0, 1, 2)
    assert [c.name for c in lab.of_seed(2).tuned(TRAIN)] == [
        "base-20",
        "base-1e4-seed2",
        "base-1e5",
    ]
    assert bases.worst_base(lab, 1024).rank == 1
    (found,) = (one for one in find_all(lab) if one.name == "bases")
    worst = next(one for one in found.statements if one.text == "1e4 is the worst of all bases")
    assert {check.holds for check in worst.checks} == {None}
    alone = bases.find(lab.of_seed(0)), bases.find(lab.of_seed(2))
    assert [{c.holds for c in one.statements[0].checks} for one in alone] == [{True}, {False}]
