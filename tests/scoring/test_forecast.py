"""Forecasts by hand: each term of a sum is one that a machine's rate alone makes large."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rope_eval.errors import SpecError
from rope_eval.scoring.cost import Cost
from rope_eval.scoring.forecast import Devices, generation, scoring
from rope_eval.scoring.machine import Machine

COST = Cost(
    parameters=1_000_000,
    multiplied=900_000,
    layers=4,
    hidden=64,
    heads=8,
    kv_heads=2,
    head_dim=8,
    wide=256,
    vocabulary=1000,
)
FAST = Machine.given(1e30, 1e30)
T, C = 1000, 256


def seconds(machine: Machine, devices: Devices | None = None) -> float | None:
    return scoring(COST, T, machine, "float32", chunk_size=C, devices=devices).seconds


@pytest.mark.parametrize(
    ("rate", "work"),
    [
        ("products", 2 * 900_000 * T),
        ("attention", 4 * 4 * 8 * 8 * T * (T + 1) / 2),  # 4·L·N·H a pair
        ("bandwidth", 4 * 900_000 * 4),  # the weights for each of four chunks
        ("moves", 4 * T * 4 * (22 * 64 + 5 * 256 + 10 * 64 + 12 * 16)),
        ("logits", 8 * 4 * 1000 * T),
    ],
)
def test_the_seconds_of_scoring(rate: str, work: float) -> None:
    assert seconds(replace(FAST, **{rate: 10.0})) == pytest.approx(work / 10)


def test_calls_are_of_each_chunk_and_layer() -> None:
    assert seconds(replace(FAST, layer_calls=0.5)) == pytest.approx(4 * 4 * 0.5)


def test_queries_over_devices_share_the_work_and_gather_keys_and_values() -> None:
    slow = replace(FAST, products=10.0)
    four = Devices(count=4)
    said = scoring(COST, T, slow, "float32", chunk_size=C, devices=four)
    assert said.received == 2 * 4 * T * 2 * 8 * 4 * 3 // 4
    assert said.seconds is None
    assert said.rate is None
    linked = seconds(replace(slow, link=100.0), four)
    alone = seconds(slow)
    assert alone is not None
    assert linked == pytest.approx(alone / 4 + said.received / 100)


def test_layers_over_devices_share_memory_and_work_in_turn() -> None:
    slow = replace(FAST, products=10.0, link=100.0)
    over = Devices(count=2, split="layers")
    said = scoring(COST, T, slow, "float32", chunk_size=C, devices=over)
    alone = scoring(COST, T, slow, "float32", chunk_size=C)
    assert said.received == T * 64 * 4
    assert said.seconds is not None and alone.seconds is not None
    assert said.seconds == pytest.approx(alone.seconds + said.received / 100)
    three = scoring(
        COST, T, slow, "float32", chunk_size=C, devices=Devices(count=3, split="layers")
    )
    assert three.seconds == pytest.approx(alone.seconds + 2 * said.received / 100)
    assert alone.memory - said.memory == 4 * (1_000_000 - (2 * (1_000_000 - 128_000) // 4 + 64_000))


def test_a_written_token_reads_weights_and_all_keys_before_it() -> None:
    slow = replace(FAST, bandwidth=10.0, cached=5.0)
    said = generation(COST, 100, 2, slow, "float32")
    cached = 2 * 4 * 2 * 8 * 4 * (101 + 102)
    assert said.seconds == pytest.approx(2 * 900_000 * 4 / 10 + cached / 5)
    assert said.flops == 2 * 900_000 * 2 + 4 * 4 * 8 * 8 * (101 + 102)
    assert said.rate == pytest.approx(2 / (said.seconds or 0))
    assert said.tokens == 2


def test_a_machine_that_reads_fast_is_held_by_its_operations() -> None:
    said = generation(COST, 100, 2, replace(FAST, products=10.0), "float32")
    assert said.seconds == pytest.approx(2 * 900_000 * 2 / 10)


def test_steps_are_not_split_by_queries() -> None:
    with pytest.raises(SpecError, match="split=layers"):
        generation(COST, 100, 2, FAST, "float32", devices=Devices(count=2))
    over = Devices(count=2, split="layers")
    said = generation(COST, 100, 2, FAST, "float32", devices=over)
    assert said.received == 2 * 64 * 4


@pytest.mark.parametrize(
    ("given", "message"),
    [({"count": 0}, "1 or more"), ({"split": "heads"}, "queries, layers, got 'heads'")],
)
def test_devices_that_make_no_sense(given: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Devices(**given)  # type: ignore[arg-type]
