"""Position methods against the checkpoint as trained."""

from __future__ import annotations

import pytest

from helpers.lab_store import TRAIN, put_curve, put_method, read_laboratory, recipe, step
from helpers.verdicts import grades
from rope_eval.results.store import Store
from studies.scaling_laws.claims import methods
from studies.scaling_laws.names import METHODS


def test_methods_against_as_trained(store: Store) -> None:
    own, drop = recipe("base-1e4", 1e4, TRAIN), recipe("b-drop", 1e4, TRAIN, beyond="drop")
    small, middle = recipe("base-20", 20, TRAIN), recipe("base-300", 300, TRAIN)
    large = recipe("base-1e5", 1e5, TRAIN)
    for one, height, log, ntk in (
        (own, 3.0, 2.95, 1.0),
        (drop, 1.0, 0.3, 0.9),
        (small, 1.0, 0.2, 1.4),
        (middle, 1.0, 0.8, 0.7),
        (large, 2.0, 2.0, 0.5),
    ):
        put_curve(store, one, step(256, height))
        put_method(store, one, "log", step(256, log))
        put_method(store, one, "ntk", step(256, ntk))
    put_method(store, large, "ntk (wrong)", step(256, 0.9))
    put_method(store, large, "ntk per_sequence", step(256, 0.6))
    lab = read_laboratory(store)
    found = methods.find(lab)
    assert grades(found) == {
        "log scale does almost nothing for the base of pre-training": "supported",
        "log scale helps where the dimensions beyond were dropped in tuning": (
            "supported within a range"  # at 256 nothing has been lost
        ),
        "log scale takes off more for the base 20 than for 300": "supported within a range",
        "dynamic NTK takes off less for the base 20 than for 300": "supported within a range",
        "dynamic NTK does harm to the base 20": "supported within a range",
        "dynamic NTK helps a larger base": "supported",  # judged past its bound of 329
        "dynamic NTK is better with T_extra than with T_train": "supported",
    }
    (control,) = found.controls
    assert control.text == "dynamic NTK changes nothing within T_train"
    assert control.at(True) == [c.at for c in control.checks]
    past = (4096 - 256) / 4095
    by_name = {m["checkpoint"]: m for m in found.numbers["checkpoints"]}
    log = next(
        m for m in by_name["base-20"]["methods"] if m["method"] == "log" and m["length"] == 4096
    )
    assert log["difference"]["value"] == pytest.approx(-0.8 * past, rel=1e-3)
    assert by_name["base-20"]["excess"]["4096"] == pytest.approx(past, rel=1e-3)
    sequence = found.numbers["per_query_minus_per_sequence"]
    assert [s["length"] for s in sequence] == [1024, 4096]
    assert sequence[1]["difference"]["value"] == pytest.approx(-0.1 * past, rel=1e-2)


def test_the_methods_are_those_that_are_measured() -> None:
    assert {methods.LOG, methods.NTK, methods.PER_SEQUENCE} <= set(METHODS)
    assert {*methods.LOOKS} == {"as trained", *methods.METHODS}
    assert methods.METHODS[-3:] == ("log (wrong)", "ntk (wrong)", "ntk+log (wrong)")
    assert len(methods.METHODS) == 11 and "clip" not in methods.METHODS
