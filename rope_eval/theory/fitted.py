"""The critical dimension that measured contexts show, the real one of arXiv 2502.20082 ([3])."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rope_eval.errors import SpecError
from rope_eval.theory.checks import TWO_PI, checked_base, checked_head_dim


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedDimension:
    """A critical dimension that was read from measured contexts.

    Attributes:
        dimensions: the d_extra of the fit, not rounded; two for each pair.
        resolution: what one pair more is as a factor of the bound, β^(2/d) at the geometric mean of
            the bases: contexts that differ by less do not tell one pair from the next.
        largest_residual: the factor by which the worst of the contexts lies off the fit, 1 or more.
    """

    dimensions: float
    resolution: float
    largest_residual: float

    @property
    def pairs(self) -> float:
        """The same in pairs."""
        return self.dimensions / 2


def fitted_critical_dimension(contexts: Mapping[float, float], *, head_dim: int) -> FittedDimension:
    """Return the critical dimension for which T_extra = 2π·β^(d_extra/d) fits measured contexts.

    It is that of [1], Eq. 5, turned round, and its fit by least squares of ln(context / 2π) on
    ln β: one context is met exactly. [3] finds that fewer pairs are trained than [1] says: 30 of
    the 35 by theory in Llama 3 8B, 25 of 31 in Phi-3 mini (`PUBLISHED_CRITICAL_PAIRS`). With 30 a
    base of 1e6 holds 4080 tokens:

    >>> fit = fitted_critical_dimension({1e6: 4080}, head_dim=128)
    >>> f"{fit.pairs:.1f} pairs, a pair is a factor of {fit.resolution:.2f}"
    '30.0 pairs, a pair is a factor of 1.24'

    At a head_dim of 64 a pair is a factor of 1.4 (base 5e4) to 1.65 (base 1e7):

    >>> fits = [fitted_critical_dimension({b: 4096.0}, head_dim=64) for b in (5e4, 1e7)]
    >>> [f"{fit.resolution:.2f}" for fit in fits]
    ['1.40', '1.65']

    Args:
        contexts: the context that was measured, in tokens, by the base of the tuned model.
        head_dim: the rotary dimension.

    Raises:
        SpecError: for no context, or one of 2π tokens or less.
    """
    head_dim = checked_head_dim(head_dim)
    if not contexts:
        raise SpecError("a critical dimension is fitted to measured contexts: give one at least")
    points = []
    for base, context in contexts.items():
        if not TWO_PI < context < math.inf:
            raise SpecError(f"a measured context must be more than 2π tokens, got {context!r}")
        points.append((math.log(checked_base("rope_theta", base)), math.log(context / TWO_PI)))
    slope = sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    mean = sum(x for x, _ in points) / len(points)
    return FittedDimension(
        dimensions=head_dim * slope,
        resolution=math.exp(2 * mean / head_dim),
        largest_residual=math.exp(max(abs(y - slope * x) for x, y in points)),
    )


PUBLISHED_CRITICAL_PAIRS = {"Llama 3 8B": (35, 30), "Phi-3 mini": (31, 25)}
"""Pairs by theory, and those that [3] finds, with the search of its LongRoPE2."""
