"""The spread over seeds."""

from __future__ import annotations

import pytest

from helpers.lab_store import TRAIN, only, put_curve, read_laboratory, recipe, step
from rope_eval.results.store import Store
from studies.scaling_laws.claims import seeds


def test_the_spread_over_seeds(store: Store) -> None:
    for seed, loss in ((0, 1.5), (1, 1.6), (2, 1.4)):
        name = "base-20" + (f"-seed{seed}" if seed else "")
        put_curve(store, recipe(name, 20, TRAIN, seed=seed), step(700 + 200 * seed, 1, loss))
    lab = read_laboratory(store)
    one = only(seeds.repeated(lab))
    assert one.nll[512] == pytest.approx((1.5, 1.6, 1.4), rel=1e-4)
    assert one.to_dict()["nll_range"]["512"] == pytest.approx(0.2, rel=1e-3)
    values = [h.estimate.value for h in one.contexts]
    assert values == sorted(values) and values[0] < 700 < values[2]
    assert "3 seeds of the tuning for the bases 20" in seeds.find(lab).basis
