"""The laws of arXiv 2310.05209, [1] here: critical dimension and base, bound, pivot bases."""

from __future__ import annotations

import math

from rope_eval.errors import SpecError
from rope_eval.theory.checks import (
    TWO_PI,
    checked_base,
    checked_head_dim,
    checked_length,
    checked_lengths,
)


def periods(rope_theta: float, *, head_dim: int) -> tuple[float, ...]:
    """Return the period of each rotated pair, in tokens, fastest first (F = head_dim / 2 of them).

    T_n = 2π·β^(2n/d), n = 0 … d/2−1 ([1], Eq. 3).

    In LLaMA2 pair 45 is the last to turn fully within the 4096 tokens of pre-training:

    >>> [round(t) for t in periods(10000, head_dim=128)[45:47]]
    [4080, 4712]
    """
    base = checked_base("rope_theta", rope_theta)
    d = checked_head_dim(head_dim)
    return tuple(TWO_PI * math.pow(base, 2 * n / d) for n in range(d // 2))


def critical_dimension(head_dim: int, train_length: int, *, pretrain_theta: float = 10000.0) -> int:
    """Return how many leading dimensions saw a full period in pre-training.

    d_extra = 2·⌈(d/2)·log_{β_pre}(T_train/2π)⌉, at most d ([1], Lemma 1, Eq. 4). It counts
    dimensions: LLaMA2's 92 are the first 46 of 64 pairs. It is d where T_train is so long that
    every pair turns fully.

    >>> critical_dimension(head_dim=128, train_length=4096)
    92
    >>> critical_dimension(head_dim=128, train_length=1_000_000)
    128
    """
    return full_period_dimensions(
        checked_head_dim(head_dim),
        checked_length("train_length", train_length),
        checked_base("pretrain_theta", pretrain_theta),
    )


def critical_base(
    train_length: int, tune_length: int | None = None, *, pretrain_theta: float = 10000.0
) -> float:
    """Return the base up to which tuning extends the critical dimension, and not the bound.

    β₀ = β_pre^(ln(T_tune/2π) / ln(T_train/2π)) ([1], Theorem 3, Eq. 12). ``tune_length`` is
    ``train_length`` by default, which makes β₀ = β_pre. The law asks for T_tune ≥ T_train.

    >>> round(critical_base(train_length=4096, tune_length=16384))
    71738
    >>> critical_base(train_length=4096)
    10000.0
    """
    train, tune = checked_lengths(train_length, tune_length)
    return _base_reaching(tune, train, checked_base("pretrain_theta", pretrain_theta))


def extrapolation_bound(
    rope_theta: float,
    *,
    head_dim: int,
    train_length: int,
    tune_length: int | None = None,
    pretrain_theta: float = 10000.0,
) -> float:
    """Return T_extra, the longest context in tokens that the tuned model extrapolates to.

    - β > β₀: T_extra = 2π·β^(d_extra/d) ([1], Theorem 2, Eq. 5; Theorem 3, Eq. 13);
    - β ≤ β₀: T_extra = T_tune ([1], Theorem 3). Below the `pivot_bases` a model holds on beyond
      that, and [1] gives no bound.

    β₀ is `critical_base`, d_extra `critical_dimension`. The value is not rounded. [1] does not
    treat a d_extra capped at d, where the first case can fall below T_tune.

    >>> round(extrapolation_bound(40000, head_dim=128, train_length=4096))
    12762
    >>> extrapolation_bound(500, head_dim=128, train_length=4096, tune_length=16384)
    16384.0
    """
    base = checked_base("rope_theta", rope_theta)
    d = checked_head_dim(head_dim)
    train, tune = checked_lengths(train_length, tune_length)
    pretrain = checked_base("pretrain_theta", pretrain_theta)
    if base <= _base_reaching(tune, train, pretrain):
        return float(tune)
    return TWO_PI * math.pow(base, full_period_dimensions(d, train, pretrain) / d)


def effective_dimension(
    rope_theta: float,
    *,
    head_dim: int,
    train_length: int,
    tune_length: int | None = None,
    pretrain_theta: float = 10000.0,
) -> int:
    """Return the critical dimension after tuning: how many leading dimensions saw a full period.

    - β > β₀: d_extra still, as pre-training left it;
    - β ≤ β₀: d'_extra = 2·⌈(d/2)·log_β(T_tune/2π)⌉, at most d ([1], Theorem 3, Eq. 14).

    >>> effective_dimension(1_000_000, head_dim=128, train_length=4096, tune_length=16384)
    92
    >>> effective_dimension(10_000, head_dim=128, train_length=4096, tune_length=16384)
    110
    >>> effective_dimension(500, head_dim=128, train_length=4096, tune_length=16384)
    128
    """
    base = checked_base("rope_theta", rope_theta)
    d = checked_head_dim(head_dim)
    train, tune = checked_lengths(train_length, tune_length)
    pretrain = checked_base("pretrain_theta", pretrain_theta)
    if base <= _base_reaching(tune, train, pretrain):
        return full_period_dimensions(d, tune, base)
    return full_period_dimensions(d, train, pretrain)


def smallest_base_for(
    target_length: int, *, train_length: int, pretrain_theta: float = 10000.0
) -> float:
    """Return the smallest base whose extrapolation bound reaches ``target_length`` tokens.

    β₀(T̃) = β_pre^(ln(T̃/2π) / ln(T_train/2π)) ([1], Theorem 2, Eq. 6).

    Eq. 6 has no ceiling and Eq. 5 has one: d_extra is rounded up to a whole pair, so that
    T_extra(β₀(T̃)) ≥ T̃, and equal to it only by chance. (Not so where d_extra is capped at d.)

    >>> base = smallest_base_for(100_000, train_length=4096)
    >>> round(base)
    938327
    >>> round(extrapolation_bound(base, head_dim=128, train_length=4096))
    123256
    """
    return _base_reaching(
        checked_length("target_length", target_length),
        checked_length("train_length", train_length),
        checked_base("pretrain_theta", pretrain_theta),
    )


def pivot_bases(tune_length: int) -> tuple[float, float, float]:
    """Return (β₁, β₂, β₃), below which tuning shows every pair a quarter, half and full period.

    β₁ = 2·T_tune/π, β₂ = T_tune/π, β₃ = T_tune/2π ([1], Theorem 1, Eq. 1; Theorem 3, Eq. 15).
    Extrapolation improves faster below each.

    >>> [round(base) for base in pivot_bases(4096)]
    [2608, 1304, 652]
    """
    tune = checked_length("tune_length", tune_length)
    return 2 * tune / math.pi, tune / math.pi, tune / TWO_PI


def full_period_dimensions(head_dim: int, length: int, base: float) -> int:
    """Return 2·⌈(d/2)·log_base(length/2π)⌉, at most d: the dimensions that turn fully."""
    pairs = math.ceil(head_dim / 2 * math.log(length / TWO_PI) / math.log(base))
    return min(2 * pairs, head_dim)


def _base_reaching(length: int, train_length: int, pretrain_theta: float) -> float:
    exponent = math.log(length / TWO_PI) / math.log(train_length / TWO_PI)
    try:
        return math.pow(pretrain_theta, exponent)
    except OverflowError:
        raise SpecError(
            f"no finite base takes a model from train_length={train_length} to {length} tokens: "
            "give a longer train_length"
        ) from None
