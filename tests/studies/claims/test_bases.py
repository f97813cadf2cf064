"""Whether the base of pre-training is the worst."""

from __future__ import annotations

import pytest

from helpers.lab_store import TRAIN, laboratory_of
from rope_eval.results.store import Store
from studies.scaling_laws.claims import bases


def test_the_worst_base_and_how_much_worse_it_is(store: Store) -> None:
    # past T_train all lose 1 nat a token, 10000 from the start, the others later
    lab = laboratory_of(
        store, {(20.0, TRAIN): 1024, (300.0, TRAIN): 400, (1e4, TRAIN): 160, (1e5, TRAIN): 500}
    )
    worst = bases.worst_base(lab, 1024)
    assert (worst.rank, worst.of, worst.worst_base, worst.rival_base) == (1, 4, 1e4, 300)
    assert worst.difference.value == pytest.approx((400 - 160) / 1023, rel=1e-4)
    assert worst.share_of_resamples == 1 and worst.difference.sign == 1
    assert worst.smallest_base_difference.value == pytest.approx(-(1024 - 160) / 1023, rel=2e-3)
    assert bases.find(lab).verdict == "agrees"


def test_a_base_that_is_not_the_worst(store: Store) -> None:
    lab = laboratory_of(store, {(20.0, TRAIN): 1024, (3e3, TRAIN): 140, (1e4, TRAIN): 160})
    worst = bases.worst_base(lab, 512)
    assert (worst.rank, worst.worst_base, worst.rival_base) == (2, 3e3, 3e3)
    assert worst.difference.value == pytest.approx(-(160 - 140) / 511, rel=1e-4)
    found = bases.find(lab)
    statements = {c.statement: c.holds for c in found.checks}
    assert statements["1e4 is the worst base at 512"] is False
    assert found.verdict == "agrees in part"  # the smallest base is better, 10000 not the worst
    assert "none of the lengths" in found.headline
