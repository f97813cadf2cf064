"""What is timed is what a rate counts: each operation and byte of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig

from rope_eval.backends.hf import kernels
from rope_eval.errors import SpecError
from rope_eval.scoring import machine
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.machine import Machine, measured, spent

CPU = torch.device("cpu")
RATES = ("products", "attention", "bandwidth", "cached", "moves", "logits")
COST = Cost.of(
    LlamaConfig(
        vocab_size=500,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> machine._Bench:
    monkeypatch.setattr(machine, "STREAM", {"cpu": 1 << 20})
    monkeypatch.setattr(machine, "CALL", {"cpu": 1e8})
    return machine._Bench(COST, torch.float32, CPU)


def in_a_second(monkeypatch: pytest.MonkeyPatch, watch: Callable[..., None]) -> None:
    """Have every call take a second, and be watched."""

    def spent(work: Callable[[], object], device: torch.device) -> float:
        watch(work)
        return 1.0

    monkeypatch.setattr(machine, "spent", spent)


def test_products_are_those_that_torch_counts(
    bench: machine._Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = FlopCounterMode(display=False)

    def watch(work: Callable[[], object]) -> None:
        with counter:
            work()

    in_a_second(monkeypatch, watch)
    assert bench.products() == counter.get_total_flops()
    counter = FlopCounterMode(display=False)
    assert bench.bandwidth() == counter.get_total_flops() * 2  # 4 bytes a weight, 2 operations


def test_what_a_head_takes_beside_its_product(
    bench: machine._Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = FlopCounterMode(display=False)

    def watch(work: Callable[[], object]) -> None:
        with counter:
            work()

    in_a_second(monkeypatch, watch)
    monkeypatch.setattr("rope_eval.scoring.logits.LOGITS_AT_ONCE", 10 * 500)
    moved = COST.logits_moved(10)
    assert bench.logits(1e30) == moved  # the whole second is no product
    flops = counter.get_total_flops()
    assert flops == 2 * 10 * 64 * 500
    assert bench.logits(4.0 * flops) == pytest.approx(moved / 0.75)
    assert bench.logits(1.0) == pytest.approx(moved / machine.LEAST)


def test_attention_is_of_the_pairs_that_are_seen(
    bench: machine._Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[float] = []

    def attend(query: Any, key: Any, value: Any, scores: Any, window: Any = None) -> None:
        Q, K = query.shape[2], key.shape[2]
        seen = torch.ones(Q, K).tril(K - Q).sum().item() - Q / 2  # the diagonal counts half
        pairs.append(4 * query.shape[1] * query.shape[3] * seen)

    monkeypatch.setattr(kernels, "causal_attention", attend)
    in_a_second(monkeypatch, lambda work: work())
    assert bench.attention() == pairs[0]


def test_time_is_of_the_process_and_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 100.0, 104.0, 104.0, 110.0, 110.0, 112.0, 112.0, 116.0, 116.0, 120.0])
    monkeypatch.setattr(machine.time, "process_time", lambda: next(now))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    calls: list[int] = []
    assert spent(lambda: calls.append(1), CPU) == 1.0  # the least, without the first
    assert len(calls) == machine.REPEATS + 1


def test_a_measured_machine_has_every_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STREAM", {"cpu": 1 << 20})
    monkeypatch.setattr(machine, "FRESH", {"cpu": 1 << 16})
    monkeypatch.setattr(machine, "CALL", {"cpu": 1e8})
    monkeypatch.setattr(machine, "STEPS", 1)
    monkeypatch.setattr("rope_eval.scoring.logits.LOGITS_AT_ONCE", 1 << 12)
    found = measured(COST, "float32", device="cpu", link=7.0)
    assert found.layer_calls > 0 and found.link == 7.0
    with pytest.raises(SpecError, match="holds no weights"):
        measured(COST, "float32", device="meta")


@pytest.mark.parametrize(
    "name", ["products", "attention", "bandwidth", "cached", "moves", "logits"]
)
def test_a_rate_of_nothing_is_refused(name: str) -> None:
    rates = dict.fromkeys(RATES, 1.0)
    with pytest.raises(SpecError, match=f"{name} must be above 0, got 0"):
        Machine(**(rates | {name: 0.0}))


def test_two_rates_are_all_rates() -> None:
    given = Machine.given(5.0, 3.0)
    assert (given.products, given.attention) == (5.0, 5.0)
    assert (given.bandwidth, given.cached, given.moves, given.logits) == (3.0, 3.0, 3.0, 3.0)
    assert (given.layer_calls, given.link) == (0.0, None)
