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
from helpers.verdicts import answers
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
    assert small.loses is True and small.finds.value == 256 and small.held.beyond
    assert unlearned.learned is False and unlearned.loses is None
    assert unlearned.finds.value == 0
    assert large.finds.value == 256
    assert large.accuracy == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert large.answer_nll[0] == pytest.approx(0.1)
    assert largest.finds.value == 64
    found = retrieval.find(lab)
    assert found.numbers["checkpoints"][0]["keeps_perplexity_and_loses_retrieval"] is True
    assert found.numbers["under_their_bound"] == 1 == found.numbers["lose_retrieval"]
    given = answers(found)
    assert small.finds_past == 256
    assert given["no needle is found past the bound", "base-20"] is False
    assert given["perplexity is kept and retrieval lost past the bound", "base-20"] is True
    (learned, up_to) = found.controls
    assert learned.at(False) == ["never"]
    # base-1e6 keeps perplexity to 724, and finds nothing past 64
    assert up_to.at(False) == ["base-1e+06 at 512"]


def test_one_whose_control_fails_is_no_point_of_the_claim(store: Store) -> None:
    one = recipe("base-3e3-512", 3e3, 512)
    put_curve(store, one, step(1e9))
    put_retrieval(store, one, 128)
    lab = read_laboratory(store)
    (k,) = everything(lab)
    assert (k.feasible, k.loses, k.control) == (430, True, (256, pytest.approx(0.1)))
    assert retrieval.able([k]) == []


def test_how_checkpoints_are_ordered(store: Store) -> None:
    # the context falls as the base grows, what is found grows with it
    for base, at, until in ((20.0, 2000, 64), (300.0, 1000, 128), (1e4, 500, 256)):
        one = recipe(f"base-{base:g}", base, TRAIN)
        put_curve(store, one, step(at))
        put_retrieval(store, one, until)
    lab = read_laboratory(store)
    (found,) = retrieval.rank_correlations(lab, everything(lab))
    assert (found.tune_length, found.runs) == (128, 3)
    assert (found.b_finds.value, found.b_context.value) == (1, -1)
    assert found.b_finds_more.value == 2
    given = answers(retrieval.find(lab))
    assert given["B orders retrieval better than perplexity", "T_tune 128"] is True


def test_retrieval_counts_what_stands_first_and_names_gaps(store: Store) -> None:
    one = recipe("base-300", 300, TRAIN)
    put_curve(store, one, step(1e9))
    right = np.zeros((60, len(PROBES), 2), dtype=bool)
    right[:, 1:3, 0] = True  # 64 and 128, not 32
    right[:, 4, 0] = True  # and 512, after a gap
    right[:, :6, 1] = True  # what stands nearer is found further
    arrays = {"right": right, "nll": np.zeros(right.shape, dtype=np.float32)}
    put(store, Kind.RETRIEVAL, one, arrays, lengths=PROBES, depths=[0.0, 0.5])
    found = only(everything(read_laboratory(store)))
    assert found.accuracy == (0, 1, 1, 0, 1, 0, 0)
    assert found.finds.value == 512 and found.gaps == [32, 256]
    assert found.learned and found.finds_past == 512  # learned is not judged at 32
