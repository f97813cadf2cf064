"""The laws of arXiv 2310.05209 against published values and their meaning."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rope_eval import theory

LLAMA2: dict[str, Any] = {"head_dim": 128, "train_length": 4096}


@pytest.mark.parametrize(
    ("head_dim", "train_length", "pretrain_theta", "dimensions"),
    [
        (128, 4096, 10000.0, 92),
        (64, 128, 10000.0, 22),
        (128, 8192, 500000.0, 70),
        (128, 7, 10000.0, 2),  # 7 is the first length above 2π: one pair
    ],
)
def test_critical_dimension(
    head_dim: int, train_length: int, pretrain_theta: float, dimensions: int
) -> None:
    found = theory.critical_dimension(head_dim, train_length, pretrain_theta=pretrain_theta)
    assert found == dimensions
    # Its meaning (Lemma 1): these pairs turn fully within train_length, the others do not.
    periods = theory.periods(pretrain_theta, head_dim=head_dim)
    assert len(periods) == head_dim // 2
    assert sum(period <= train_length for period in periods) == dimensions // 2


def test_critical_dimension_is_capped_at_head_dim() -> None:
    # 2π·10000 = 62831.9
    assert theory.critical_dimension(128, 62831) == 128
    assert theory.critical_dimension(128, 62832) == 128
    assert theory.critical_dimension(128, 10**9) == 128
    assert theory.critical_dimension(128, 60000) == 128
    assert theory.critical_dimension(128, 50000) == 126
    bound = theory.extrapolation_bound(1e6, head_dim=128, train_length=100_000)
    assert bound == pytest.approx(2 * math.pi * 1e6)
    # The guarantee of smallest_base_for ends where the cap begins, as its docstring says.
    base = theory.smallest_base_for(200_000, train_length=100_000)
    assert theory.extrapolation_bound(base, head_dim=128, train_length=100_000) < 200_000


@pytest.mark.parametrize(
    ("rope_theta", "bound"),
    [
        (40000, 12762),
        (80000, 21003),
        (120000, 28109),
        (160000, 34565),
        (400000, 66782),
        (600000, 89377),
        (1000000, 129027),
    ],
)
def test_extrapolation_bound_of_llama2(rope_theta: int, bound: int) -> None:
    assert round(theory.extrapolation_bound(rope_theta, **LLAMA2)) == bound


@pytest.mark.parametrize(("rope_theta", "bound"), [(1e5, 329), (1e6, 726)])
def test_extrapolation_bound_of_small_heads(rope_theta: float, bound: int) -> None:
    # Written out: d_extra = 2·⌈32·ln(128/2π)/ln(10000)⌉ = 2·⌈10.47⌉ = 22.
    found = theory.extrapolation_bound(rope_theta, head_dim=64, train_length=128)
    assert found == pytest.approx(2 * math.pi * rope_theta ** (22 / 64), rel=1e-12)
    assert int(found) in (bound - 1, bound)


def test_critical_base_parts_the_two_cases() -> None:
    base = theory.critical_base(4096, 16384)
    assert round(base) == 71738
    tuned = {**LLAMA2, "tune_length": 16384}
    assert theory.extrapolation_bound(base, **tuned) == 16384
    assert theory.extrapolation_bound(math.nextafter(base, math.inf), **tuned) > 16384
    assert round(theory.extrapolation_bound(80000, **tuned)) == 21003
    assert theory.extrapolation_bound(40000, **tuned) == 16384


def test_critical_base_is_the_pretraining_base_without_longer_tuning() -> None:
    assert theory.critical_base(4096) == 10000.0
    assert theory.critical_base(4096, pretrain_theta=500000.0) == 500000.0
    assert theory.extrapolation_bound(10000, **LLAMA2) == 4096
    assert theory.extrapolation_bound(500, **LLAMA2) == 4096


def test_effective_dimension() -> None:
    def effective(rope_theta: float, tune_length: int | None = None) -> int:
        return theory.effective_dimension(rope_theta, **LLAMA2, tune_length=tune_length)

    assert effective(10000) == 92
    assert effective(1e6) == 92  # above β₀: as pre-training left it
    # 2·⌈64·ln(16384/2π)/ln β⌉
    assert effective(10000, 16384) == 110
    assert effective(40000, 16384) == 96
    assert effective(500, 16384) == 128
    for rope_theta in (500, 10000, 40000, 71737):
        turned = sum(t <= 16384 for t in theory.periods(rope_theta, head_dim=128))
        assert effective(rope_theta, 16384) == 2 * turned


def test_smallest_base_for() -> None:
    assert round(theory.smallest_base_for(100_000, train_length=4096)) == 938327
    # The same law as the critical base's, asked the other way round.
    assert theory.smallest_base_for(16384, train_length=4096) == theory.critical_base(4096, 16384)
    assert theory.smallest_base_for(16384, train_length=8192, pretrain_theta=5e5) == pytest.approx(
        5e5 ** (math.log(16384 / 2 / math.pi) / math.log(8192 / 2 / math.pi)), rel=1e-12
    )
    for target in (5000, 16384, 100_000, 10**6):
        base = theory.smallest_base_for(target, train_length=4096)
        assert theory.extrapolation_bound(base, **LLAMA2) >= target  # the ceiling of Eq. 5
        # Without it they would be equal.
        exponent = math.log(4096 / 2 / math.pi) / math.log(10000)
        assert 2 * math.pi * base**exponent == pytest.approx(target, rel=1e-9)


def test_pivot_bases() -> None:
    assert theory.pivot_bases(4096) == pytest.approx((2607.5946, 1303.7973, 651.8986), abs=1e-4)
    assert theory.pivot_bases(128)[2] == pytest.approx(20.372, abs=1e-3)


def test_periods() -> None:
    periods = theory.periods(10000, head_dim=128)
    assert periods[0] == pytest.approx(2 * math.pi)
    assert periods[63] == pytest.approx(2 * math.pi * 10000 ** (126 / 128))
