"""The valley that moves with the tuning length."""

from __future__ import annotations

from helpers.lab_store import laboratory_of, law
from helpers.verdicts import answers, grades
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
    given = answers(found)
    shortest = "the measured base next below β₀ has the shortest context"
    assert given[shortest, "1e4 of T_tune 128"] is True
    assert given[shortest, "1e4 of T_tune 512"] is False
    assert given["below β₁ a base holds more than T_tune", "20 at 128"] is True
    follows = "from β₁ up to β₀ a base holds T_tune"
    assert given[follows, "300 at 128"] is False and given[follows, "1e4 at 128"] is True
    assert given["a longer tuning has its shortest context at a larger base", "128 to 512"] is True
    assert grades(found)[shortest] == "supported within a range"
    sides = {(s["tune_length"], s["side"]): s["bases"] for s in found.numbers["sides"]}
    assert sides == {
        (128, "up to"): [300, 1e4],
        (128, "above"): [1e6],
        (512, "up to"): [1e4],
        (512, "above"): [7e5, 1e7],
    }
