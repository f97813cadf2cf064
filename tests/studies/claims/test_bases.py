"""Whether the base of pre-training is the worst."""

from __future__ import annotations

import pytest

from helpers.lab_store import TRAIN, laboratory_of, put_curve, read_laboratory, recipe, step
from helpers.verdicts import answers, grades
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
    assert worst.others[20].value == pytest.approx(-(1024 - 160) / 1023, rel=2e-3)
    assert list(worst.others) == [20, 300, 1e5] and worst.own_base == 1e4
    found = bases.find(lab)
    assert found.verdict == "3 supported"
    assert grades(found)["1e4 is the worst of all bases"] == "supported"
    given = answers(found)
    assert given["a smaller base is better than 1e4", "20 at 256"] is True
    assert given["within T_train a base is as good as 1e4", "20"] is True


def test_a_base_that_is_not_the_worst(store: Store) -> None:
    lab = laboratory_of(store, {(20.0, TRAIN): 1024, (3e3, TRAIN): 140, (1e4, TRAIN): 160})
    worst = bases.worst_base(lab, 512)
    assert (worst.rank, worst.worst_base, worst.rival_base) == (2, 3e3, 3e3)
    assert worst.difference.value == pytest.approx(-(160 - 140) / 511, rel=1e-4)
    found = bases.find(lab)
    assert answers(found)["1e4 is the worst of all bases", "512"] is False
    assert grades(found) == {
        "1e4 is the worst of all bases": "contradicted",
        "a smaller base is better than 1e4": "supported within a range",  # 20 is, 3000 is not
    }
    assert "none of the lengths" in found.headline


def test_a_tuning_that_failed_is_a_failed_control(store: Store) -> None:
    for base, loss in ((20.0, 1.6), (300.0, 1.52), (1e4, 1.5)):
        put_curve(store, recipe(f"base-{base:g}", base, TRAIN), step(200, 1.0, loss))
    (control,) = bases.find(read_laboratory(store)).controls
    assert (control.at(False), control.at(True)) == (["20"], ["300"])
