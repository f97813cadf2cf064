"""How far the angles of longer texts are from those of pre-training: arXiv 2410.01490, [5] here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rope_eval.errors import SpecError
from rope_eval.theory.checks import TWO_PI, checked_base, checked_head_dim, checked_length

INTERVALS = 360
_EMPTY = 2.0**-14  # positions counted in an interval that none fell in, as the authors' code has it


def angle_disturbance(
    length: int,
    *,
    head_dim: int,
    train_length: int,
    rope_theta: float = 10000.0,
    scales: float | Sequence[float] = 1.0,
    pretrain_theta: float = 10000.0,
    intervals: int = INTERVALS,
) -> tuple[float, ...]:
    """Return the disturbance of each pair's rotary angles, in nats, fastest first.

    Of each pair, the angles m·θ_n mod 2π of the positions m of pre-training, and those of a longer
    text, are counted in equal intervals; the disturbance is the Kullback-Leibler divergence of the
    second from the first ([5]; an empty interval counts as in its authors' code).

    [5] chooses for each pair what disturbs it less, its own frequency or that interpolated by λ,
    and reports up to 72 % less disturbance than interpolation for LLaMA2 at 8192 tokens:

    >>> def of(scale):
    ...     return angle_disturbance(8192, head_dim=128, train_length=4096, scales=scale)
    >>> mixed = [min(pair) for pair in zip(of(1.0), of(2.0))]
    >>> f"{1 - sum(mixed) / sum(of(2.0)):.0%}"
    '72%'

    Args:
        length: of the text, in tokens.
        head_dim: the rotary dimension.
        train_length: of pre-training, in tokens.
        rope_theta: the base of the text.
        scales: what its frequencies are divided by, one for all or one for each pair.
        pretrain_theta: the base of pre-training.
        intervals: of the circle.

    Raises:
        SpecError: for a scale that is not above 0, or not one for each pair.
    """
    import numpy as np

    d = checked_head_dim(head_dim)
    length, train = checked_length("length", length), checked_length("train_length", train_length)
    base = checked_base("rope_theta", rope_theta)
    pretrained = checked_base("pretrain_theta", pretrain_theta)
    by = [scales] * (d // 2) if isinstance(scales, int | float) else list(scales)
    if len(by) != d // 2 or not all(0 < scale < math.inf for scale in by):
        raise SpecError(f"scales must be a number above 0, or one for each of {d // 2} pairs")

    def shares(frequency: float, positions: int) -> np.ndarray:
        turned = np.arange(positions) * frequency % TWO_PI
        found = np.minimum((turned * (intervals / TWO_PI)).astype(np.int64), intervals - 1)
        return (np.bincount(found, minlength=intervals) + _EMPTY) / positions

    disturbances = []
    for n, scale in enumerate(by):
        before = shares(math.pow(pretrained, -2 * n / d), train)
        after = shares(math.pow(base, -2 * n / d) / scale, length)
        disturbances.append(float(np.sum(before * np.log(before / after))))
    return tuple(disturbances)
