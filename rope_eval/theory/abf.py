"""Adjusted base frequency, arXiv 2309.16039, [4] here: pre-training goes on under a larger base."""

from __future__ import annotations

import math

from rope_eval.theory.checks import checked_base, checked_head_dim

ABF_THETA = 500_000.0
"""The base that [4] takes for 32,768 tokens, from one of 10,000."""


def slowdown(
    rope_theta: float, *, head_dim: int, pretrain_theta: float = 10000.0
) -> tuple[float, ...]:
    """Return by what factor another base slows each pair, fastest first (F = head_dim / 2 of them).

    (β/β_pre)^(2n/d), n = 0 … d/2−1: position interpolation slows every pair by the same λ, a
    larger base ([4]) the slow pairs alone. That of [4], 500000, slows the slowest 47 times, and is
    short of the bound of [2] for the 32,768 tokens that it is for (6.4e5 as printed):

    >>> factors = slowdown(ABF_THETA, head_dim=128)
    >>> [round(factors[n], 1) for n in (0, 32, 63)]
    [1.0, 7.1, 47.0]
    """
    ratio = checked_base("rope_theta", rope_theta) / checked_base("pretrain_theta", pretrain_theta)
    d = checked_head_dim(head_dim)
    return tuple(math.pow(ratio, 2 * n / d) for n in range(d // 2))
