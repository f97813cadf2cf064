"""How far a score, or a difference of two, may be chance: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054  # the normal quantile of 97.5 %
RESAMPLES = 10_000
SEED = 20231008
_AT_ONCE = 4_000_000  # numbers drawn

Interval = tuple[float, float]


def wilson(p: float, n: int) -> Interval:
    """Return Wilson's 95 % interval of a proportion p of n items.

    >>> [round(x, 4) for x in wilson(0.0, 10)]
    [0.0, 0.2775]
    """
    centre = p + Z * Z / (2 * n)
    spread = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def newcombe(p: float, n: int, q: float, m: int) -> Interval:
    """Return Newcombe's 95 % interval of p − q for independent proportions of n and m items.

    It joins the two Wilson intervals (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10),
    and so has a width where a proportion is 0 or 1 too. Scores of the same items are usually
    positively correlated, which makes it wider than it need be.
    """
    (low_p, high_p), (low_q, high_q) = wilson(p, n), wilson(q, m)
    below = math.hypot(p - low_p, high_q - q)
    above = math.hypot(high_p - p, q - low_q)
    return p - q - below, p - q + above


def paired_bootstrap(parts: Sequence[npt.NDArray[np.floating]]) -> Interval:
    """Return the 95 % percentile interval of a plain mean of parts, resampling items in each.

    A part whose items do not differ, such as one of a single item, would seem certain. Among
    several parts it is resampled from the items of all, moved to its own mean.

    Args:
        parts: for each part the items' differences.

    Drawing n items with replacement is drawing how often each distinct difference occurs: a
    multinomial, which costs nothing with the few values that marks have. The seed is fixed, so
    that the same samples give the same interval.
    """
    generator = np.random.default_rng(SEED)
    everything = np.concatenate(parts)
    means = np.zeros(RESAMPLES)
    for differences in parts:
        values, counts = np.unique(differences, return_counts=True)
        if len(values) == 1:
            others, counts = np.unique(everything, return_counts=True)
            values = values + others - everything.mean()
        drawn = generator.multinomial(len(differences), counts / counts.sum(), size=RESAMPLES)
        means += drawn @ values / len(differences)
    low, high = np.quantile(means / len(parts), [0.025, 0.975])
    return float(low), float(high)


def ratio_bootstrap(
    numerators: npt.NDArray[np.floating], denominators: npt.NDArray[np.floating]
) -> Interval:
    """Return the 95 % percentile interval of Σ numerators / Σ denominators, resampling the pairs.

    Args:
        numerators: of each document or item, such as its nats.
        denominators: the same, such as its tokens.
    """
    generator = np.random.default_rng(SEED)
    count = len(numerators)
    batch = max(1, _AT_ONCE // count)
    ratios = []
    for start in range(0, RESAMPLES, batch):
        size = min(batch, RESAMPLES - start)
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=size)
        ratios.append((drawn @ numerators) / (drawn @ denominators))
    low, high = np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return float(low), float(high)


def mean_variance(parts: Sequence[tuple[float, int]]) -> float:
    """Return the binomial variance of a plain mean of proportions (p, n).

    A proportion counts as (p·n + 1) / (n + 2), so that parts of 0 or 1 have a variance too.

    >>> mean_variance([(0.5, 100), (0.5, 25)])
    0.003125
    """
    shrunk = [((p * n + 1) / (n + 2), n) for p, n in parts]
    return sum(p * (1 - p) / n for p, n in shrunk) / len(parts) ** 2
