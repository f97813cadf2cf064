"""The valley that moves with the tuning length."""

from __future__ import annotations

from helpers.lab_store import laboratory_of, law
from rope_eval.results.store import Store
from studies.scaling_laws.claims import critical_base


def test_the_critical_base(store: Store) -> None:
    at: dict[tuple[float, int], float] = {
        (base, tune): law(base, tune) * 1.06
        for tune, some in ((128, (300.0, 1e4, 1e6)), (512, (1e4, 7e5, 1e7)))
        for base in some
    }
    at |= {(300.0, 128): 500, (1e4, 512): 900, (20.0, 128): 3000}
    lab = laboratory_of(store, at)
    found = critical_base.find(lab)
    statements = {c.statement: c.holds for c in found.checks}
    assert (
        statements[
            "tuned at 128, the base next below β₀ (1e4) has the shortest measured max context"
        ]
        is True
    )
    assert (
        statements[
            "tuned at 512, the base next below β₀ (1e4) has the shortest measured max context"
        ]
        is False
    )
    assert statements["tuned at 128, the bases below β₁ hold on beyond T_tune"] is True
    assert (
        statements[
            "tuned at 128, all bases from β₁ up to β₀ hold up to T_extra within a factor of 1.5"
        ]
        is False
    )
    sides = {(s["tune_length"], s["side"]): s["bases"] for s in found.numbers["sides"]}
    assert sides == {
        (128, "up to"): [300, 1e4],
        (128, "above"): [1e6],
        (512, "up to"): [1e4],
        (512, "above"): [7e5, 1e7],
    }
