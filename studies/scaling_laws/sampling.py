"""Sums over documents, for all of them, for each set and for bootstrap resamples at once.

A statistic is a function of sums over documents. Computed on `Sample.weights` @ (sums by document),
K = 1 + sets + resamples rows, it comes with its value in each set and its interval in one go, and
statistics of two curves that share the rows are paired by documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.results.stats import RESAMPLES, SEED
from studies.scaling_laws.names import set_numbers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number, its 95 % percentile interval over items, and what each disjoint set gives.

    NaN where the data do not decide it, such as the slope of a line through one point.
    """

    value: float
    low: float
    high: float
    sets: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


class Sample:
    """How often each item counts: in all, in each set, and in bootstrap resamples.

    Args:
        items: number of items, such as documents; item i is of set i mod `sets`.
        sets: number of disjoint sets.

    Attributes:
        weights: [1 + sets + resamples, items]; the seed of the resamples is fixed.
        totals: items in each row, [1 + sets + resamples, 1].
    """

    def __init__(self, items: int, sets: int) -> None:
        self.items, self.sets = items, sets
        one_hot = set_numbers(items, sets) == np.arange(sets)[:, None]
        drawn = np.random.default_rng(SEED).multinomial(items, [1 / items] * items, RESAMPLES)
        self.weights: Floats = np.concatenate([np.ones((1, items)), one_hot, drawn])
        self.totals: Floats = self.weights.sum(1, keepdims=True)

    def estimate(self, values: Floats) -> Estimate:
        """Return the estimate from a statistic's values, [K], in the order of the weights' rows."""
        resampled = values[1 + self.sets :]
        resampled = resampled[~np.isnan(resampled)]
        low, high = math.nan, math.nan
        if resampled.size and not math.isnan(values[0]):
            low, high = np.quantile(resampled, [0.025, 0.975], method="closest_observation")
        return Estimate(
            value=float(values[0]),
            low=float(low),
            high=float(high),
            sets=tuple(float(value) for value in values[1 : 1 + self.sets]),
        )

    def share(self, holds: npt.NDArray[np.bool_]) -> float:
        """Return the share of the resamples in which something holds; [K] as in `estimate`."""
        return float(holds[1 + self.sets :].mean())


def plain(value: Any) -> Any:
    """Return plain JSON values: of a dataclass its fields, None in the place of NaN.

    >>> plain({512: Estimate(value=1.5, low=1.0, high=math.nan, sets=(1.0, 2.0))})
    {'512': {'value': 1.5, 'interval': [1.0, None], 'sets': [1.0, 2.0]}}
    """
    if isinstance(value, Estimate):
        interval = value.low, value.high
        return plain({"value": value.value, "interval": interval, "sets": value.sets})
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
