"""Rank correlations of lengths, with intervals from the rows of samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from studies.scaling_laws.sampling import Floats


def spearman(first: Floats, second: Floats) -> Floats:
    """Return Spearman's rank correlation of each row, ties at their mean rank, [K].

    NaN where all of a row are equal.

    Args:
        first: [K, n], or [n] for all rows alike.
        second: the same.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 4.0, 9.0], [3.0, 2.0, 1.0]])).tolist()
    [1.0, -1.0]
    """
    x, y = (_centred(values) for values in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return found


def _centred(values: Floats) -> Floats:
    ranks = pd.DataFrame(np.atleast_2d(values)).rank(axis=1).to_numpy()
    centred: Floats = ranks - ranks.mean(1, keepdims=True)
    return centred
