"""Two curves of the same documents against each other: what several findings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from studies.scaling_laws import scores
from studies.scaling_laws.finding import perplexity, with_interval
from studies.scaling_laws.runs import Curve, Laboratory
from studies.scaling_laws.sampling import Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A curve at a length, and against another one.

    Attributes:
        nll: Cumulative, nats a token.
        difference: To the other curve; below zero this one is better.
    """

    nll: Estimate
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"nll": self.nll.to_dict(), "difference": self.difference.to_dict()}

    def cells(self) -> list[str]:
        """Return the cells of a table: perplexity, difference in nats."""
        return [perplexity(self.nll.value), with_interval(self.difference, signed=True)]


def compare(laboratory: Laboratory, curve: Curve, other: Curve, length: int) -> Difference:
    """Compare two curves at a length, paired by documents."""
    sample = laboratory.sample
    one = scores.cumulative_nll(curve, sample, length)
    return Difference(
        nll=sample.estimate(one),
        difference=sample.estimate(one - scores.cumulative_nll(other, sample, length)),
    )


def excess(laboratory: Laboratory, curve: Curve, length: int) -> float:
    """Return the cumulative loss at a length above that at T_tune, nats a token; at least 0."""
    sample, tune = laboratory.sample, curve.checkpoint.tune_length
    at, within = (scores.cumulative_nll(curve, sample, n)[0] for n in (length, tune))
    return float(np.maximum(at - within, 0.0))
