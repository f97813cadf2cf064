"""How far attention scores leave what tuning has shown."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import (
    EDGES,
    TRAIN,
    only,
    put_attention,
    put_curve,
    read_laboratory,
    recipe,
    step,
)
from rope_eval.results.store import Store
from studies.scaling_laws.claims import attention


def test_drift_of_attention_scores(store: Store) -> None:
    # beyond: from 0 at distance 1 to 1 at T_tune, and on to 3 past the bound
    put_curve(store, recipe("base-1e5", 1e5, TRAIN), step(400))
    put_attention(store, recipe("base-1e5", 1e5, TRAIN), lambda m: np.log2(1 + m) / 7)
    lab = read_laboratory(store)
    one = only(attention.drifts(lab))
    assert one.before.leaves.value == pytest.approx(0, abs=0.02)
    edges = np.array(EDGES)
    mid = (edges[:-1] + edges[1:] - 1) / 2
    means = np.log2(1 + mid) / 7
    inside = (edges[:-1] >= 1) & (edges[1:] - 1 < TRAIN)
    low, high = means[inside].min(), means[inside].max()
    assert one.beyond.leaves.value == pytest.approx((means[-1] - high) / (high - low))
    assert one.beyond.within.value == pytest.approx((high - low) * 1.025)
    assert one.beyond.shift.value > 0 and one.difference.sign == 1
    found = attention.find(lab)
    assert found.verdict == "2 supported" and found.numbers["drift"][0]["documents"] == 6
