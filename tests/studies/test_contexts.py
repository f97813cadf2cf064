"""The measured max context: where a longer context begins to cost."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.lab_store import (
    DOCUMENTS,
    LENGTHS,
    LOSS,
    TRAIN,
    Local,
    laboratory_of,
    only,
    put,
    put_curve,
    put_window,
    read_laboratory,
    recipe,
    step,
)
from rope_eval.errors import DataError
from rope_eval.local_loss import WINDOW
from rope_eval.results.store import Store
from studies.scaling_laws import contexts
from studies.scaling_laws.measured import Kind
from studies.scaling_laws.scores import Rule


@pytest.mark.parametrize("tune", [128, 256, 512])
@pytest.mark.parametrize("at", [600, 724, 1000, 2000])
def test_max_context_is_where_the_loss_steps_up(store: Store, tune: int, at: int) -> None:
    lab = laboratory_of(store, {(1e5, tune): at}, noise=0.05)
    held = contexts.held(lab, lab.tuned(tune)[0])
    assert at / WINDOW / 1.01 < held.estimate.value <= at + 1
    assert not held.beyond and held.estimate.low <= held.estimate.value <= held.estimate.high
    # by hand: the first window from T_tune on whose loss is more than the margin above
    nll, curve = only(lab.curves.values()).nll.sum(0) / DOCUMENTS, only(lab.curves.values())
    reference = (nll[LENGTHS.index(tune)] - nll[LENGTHS.index(tune // 2)]) / (tune // 2)
    begins = [
        LENGTHS[i]
        for i in range(len(LENGTHS) - 2)
        if LENGTHS[i] >= tune
        and (nll[i + 2] - nll[i]) / (LENGTHS[i + 2] - LENGTHS[i]) > reference + 0.3
    ]
    assert held.estimate.value == begins[0] and curve.one_pass


def test_a_context_that_is_never_lost_is_beyond(store: Store) -> None:
    lab = laboratory_of(store, {(1e5, TRAIN): 1e9})
    held = contexts.held(lab, lab.tuned(TRAIN)[0])
    assert held.beyond and held.cells()[3] == "> 4096 [> 4096, > 4096]"
    assert held.by_set == "> 4096 / > 4096 / > 4096" and held.cells()[-1].startswith("> ")
    assert held.to_dict()["beyond_longest"] is True


def test_a_step_below_the_margin_is_no_loss(store: Store) -> None:
    put_curve(store, recipe("a", 1e5, TRAIN), step(512, 0.25))
    lab = read_laboratory(store)
    checkpoint = only(lab.checkpoints)
    assert contexts.held(lab, checkpoint).beyond
    assert not contexts.held(lab, checkpoint, Rule(margin=0.2)).beyond


def test_a_hard_passage_is_not_a_lost_context(store: Store) -> None:
    hard: Local = lambda t: np.where((t > 200) & (t < 300), 2.5, LOSS)  # noqa: E731
    one = recipe("a", 1e5, TRAIN)
    put_curve(store, one, hard)
    lab = read_laboratory(store)
    assert contexts.held(lab, only(lab.checkpoints)).estimate.value < 300
    again = store.root.with_name("again")
    store = Store(again)
    put_curve(store, one, hard, method="as trained")
    with pytest.raises(DataError, match="not measured in windows of 128 tokens"):
        contexts.held(read_laboratory(store), only(lab.checkpoints))
    positions = np.arange(1, LENGTHS[-1], dtype=np.float64)
    nll = np.cumsum(hard(positions))[np.array(LENGTHS) - 2] + np.zeros((DOCUMENTS, 1))
    put_window(store, one, nll)
    lab = read_laboratory(store)
    assert contexts.held(lab, only(lab.checkpoints)).beyond


def test_sets_have_contexts_of_their_own(store: Store) -> None:
    lengths = np.array(LENGTHS) - 1.0
    nll = np.stack([LOSS * lengths + (lengths - b).clip(0) for b in (400, 800, 1600)] * 4)
    arrays = {"nll": nll.astype(np.float32), "hits": np.zeros(nll.shape, dtype=np.int32)}
    put(store, Kind.CURVE, recipe("a", 1e5, TRAIN), arrays, lengths=LENGTHS)
    put_window(store, recipe("a", 1e5, TRAIN), LOSS * lengths + np.zeros((DOCUMENTS, 1)))
    lab = read_laboratory(store)
    held = contexts.held(lab, only(lab.checkpoints))
    for value, at in zip(held.estimate.sets, (400, 800, 1600), strict=True):
        assert at / WINDOW / 1.01 < value <= at + 1
    # pooled, a third of the documents is enough only where 1/3 nat is above the margin
    assert held.estimate.sets[0] <= held.estimate.value <= 400 * WINDOW


def test_a_ceiling_and_a_grid_of_other_lengths(store: Store) -> None:
    lab = laboratory_of(store, {(1e5, TRAIN): 1500})
    checkpoint = only(lab.checkpoints)
    below = contexts.held(lab, checkpoint, Rule(longest=1024))
    assert below.beyond and below.context.longest == 1024
    # half octaves have no window of a quarter: from one length to the next
    assert contexts.held(lab, checkpoint, Rule(step=4)).estimate.value == 1448
    assert contexts.held(lab, checkpoint, Rule(step=2)).estimate.value == 1448
    assert contexts.held(lab, checkpoint).estimate.value == 1328
    assert len(contexts.variants(lab)) == 9
