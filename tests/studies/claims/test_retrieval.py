"""Retrieval that is lost where perplexity is kept."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import (
    HEAD_DIM,
    PROBES,
    TRAIN,
    only,
    put,
    put_curve,
    put_retrieval,
    read_laboratory,
    recipe,
    step,
)
from rope_eval import theory
from rope_eval.results.store import Store
from studies.scaling_laws.claims import retrieval
from studies.scaling_laws.measured import Kind
from studies.scaling_laws.retrieved import everything


def test_retrieval_that_is_lost_where_perplexity_is_kept(store: Store) -> None:
    for base, lost, until in ((20.0, 1e9, 256), (1e5, 400, 256), (1e6, 800, 64)):
        one = recipe(f"base-{base:g}", base, TRAIN)
        put_curve(store, one, step(lost))
        put_retrieval(store, one, until)
    never = recipe("never", 300, TRAIN)
    put_curve(store, never, step(1e9))
    put_retrieval(store, never, 0)
    lab = read_laboratory(store)
    small, unlearned, large, largest = everything(lab)
    first = theory.first_negative(20, 4096, HEAD_DIM)
    assert first is not None and small.feasible == first - 1 < 256
    assert small.loses is True and small.retrieves.value == 256 and small.held.beyond
    assert unlearned.learned is False and unlearned.loses is None
    assert unlearned.retrieves.value == 0
    assert large.retrieves.value == 256
    assert large.accuracy == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert large.answer_nll[0] == pytest.approx(0.1)
    assert largest.retrieves.value == 64
    found = retrieval.find(lab)
    assert found.numbers["checkpoints"][0]["keeps_perplexity_and_loses_retrieval"] is True
    assert found.numbers["under_their_bound"] == 1 == found.numbers["lose_retrieval"]
    statements = {c.statement: c.holds for c in found.checks}
    past = f"base-20 retrieves at no length past its bound of {small.feasible}"
    assert small.retrieves_past == 256 and statements[past] is False
    assert found.verdict == "agrees in part"


def test_retrieval_counts_what_stands_first_and_has_no_gaps(store: Store) -> None:
    one = recipe("base-300", 300, TRAIN)
    put_curve(store, one, step(1e9))
    right = np.zeros((60, len(PROBES), 2), dtype=bool)
    right[:, :3, 0] = True  # 32, 64, 128
    right[:, 4, 0] = True  # and 512, after a gap
    right[:, :6, 1] = True  # what stands nearer is found further
    arrays = {"right": right, "nll": np.zeros(right.shape, dtype=np.float32)}
    put(store, Kind.RETRIEVAL, one, arrays, lengths=PROBES, depths=[0.0, 0.5])
    found = only(everything(read_laboratory(store)))
    assert found.accuracy == (1, 1, 1, 0, 1, 0, 0)
    assert found.retrieves.value == 128
    assert found.learned and found.retrieves_past == 128
