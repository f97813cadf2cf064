"""B where it is not the base's: of dropped pairs and of methods."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import (
    TRAIN,
    put_curve,
    put_method,
    put_retrieval,
    read_laboratory,
    recipe,
    step,
)
from helpers.verdicts import answers
from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.claims import b_alone
from studies.scaling_laws.like_tokens import FARTHEST, feasible_length
from studies.scaling_laws.names import settings_of
from studies.scaling_laws.runs import Checkpoint

HEAD_DIM = 64


def checkpoint(base: float, **fields: object) -> Checkpoint:
    rope = RopeSpec.from_dict({"rope_theta": base, "train_length": TRAIN, **fields})
    return Checkpoint(name="one", rope=rope, head_dim=HEAD_DIM, seed=0, tuned=False)


@pytest.mark.parametrize("base", [20.0, 1e4, 1e6, 1e8])
def test_as_trained_b_is_that_of_the_base(base: float) -> None:
    first = theory.first_negative(base, FARTHEST, HEAD_DIM)
    one = checkpoint(base)
    assert feasible_length(one, one.rope) == (None if first is None else first - 1)


def _brute(angles: np.ndarray) -> int | None:
    """Return the last place before Σ cos is negative; angles are [places, pairs]."""
    negative = np.flatnonzero(np.cos(angles).sum(1) < 0)
    return int(negative[0]) - 1 if len(negative) else None


def test_b_of_other_angles_against_brute_force() -> None:
    one, m = checkpoint(1e4), np.arange(FARTHEST + 1, dtype=np.float64)
    theta = 1e4 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    settings = settings_of(one.rope)
    expected = {
        "PI": _brute(np.outer(m / 8, theta)),
        "fixed NTK": theory.first_negative(1e4 * 8 ** (HEAD_DIM / (HEAD_DIM - 2)), FARTHEST, 64),
        "drop": _brute(np.outer(m, theta[:11])),
        "ReRoPE": _brute(np.outer(np.minimum(m, 32), theta)),
        "DroPE": None,
        "log": _brute(np.outer(m, theta)),
    }
    assert feasible_length(one, settings["PI"]) == expected["PI"] == 5792
    assert feasible_length(one, settings["drop"]) == expected["drop"] == 13
    assert feasible_length(one, settings["log"]) == expected["log"] == 724
    assert feasible_length(one, settings["ReRoPE"]) is expected["ReRoPE"] is None
    assert feasible_length(one, settings["DroPE"]) is None


def test_what_is_tuned_without_pairs_has_another_order_than_its_base(store: Store) -> None:
    for base, until in ((300.0, 128), (1e4, 256), (1e5, 512)):
        one = recipe(f"base-{base:g}", base, TRAIN)
        put_curve(store, one, step(400))
        put_retrieval(store, one, until)
    for base, until in ((1e4, 32), (1e5, 64)):
        one = recipe(f"base-{base:g}-drop", base, TRAIN, beyond="drop")
        put_curve(store, one, step(400))
        put_retrieval(store, one, until)
    lab = read_laboratory(store)
    found = b_alone.find(lab)
    (order,) = found.numbers["orders"]
    assert order["runs"] == 5
    assert order["b_finds"]["value"] == pytest.approx(1)
    assert order["base_finds"]["value"] < order["b_finds"]["value"]
    lengths = {one["checkpoint"]: one["feasible_length"] for one in found.numbers["tuned"]}
    assert lengths["base-10000"] == 724 and lengths["base-10000-drop"] == 13
    given = answers(found)
    assert given["B orders retrieval better than the base", "T_tune 128"] is True
    statement = "at one base, a shorter B finds needles less far"
    assert given[statement, "base-10000-drop"] is given[statement, "base-100000-drop"] is True


def test_a_longer_b_that_finds_less_is_the_contrary(store: Store) -> None:
    one = recipe("pretrained", 1e4)
    put_curve(store, one, step(128))
    put_retrieval(store, one, 512)
    for method, until in (("PI", 32), ("fixed NTK", 256)):  # B up to 5792 and 2088, for 724
        put_method(store, one, method, step(128))
        put_retrieval(store, one, until, method=method)
    found = b_alone.find(read_laboratory(store))
    statement = "without tuning, a setting with a longer B finds needles further"
    assert answers(found) == {(statement, "pretrained"): False}
    assert found.numbers["untuned"]["pretrained"]["feasible_lengths"] == {
        "as trained": 724,
        "PI": 5792,
        "fixed NTK": 2088,
    }


def test_no_other_b_was_measured(store: Store) -> None:
    one = recipe("base-300", 300, TRAIN)
    put_curve(store, one, step(400))
    put_retrieval(store, one, 128)
    with pytest.raises(DataError, match="no retrieval of what has another B"):
        b_alone.find(read_laboratory(store))
