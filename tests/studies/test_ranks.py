"""Rank correlations by rows."""

from __future__ import annotations

import numpy as np
import pytest

from studies.scaling_laws.ranks import spearman


def test_ties_have_their_mean_rank() -> None:
    # by hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    found = spearman(np.array([1.0, 5.0, 5.0, 9.0]), np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert found == pytest.approx([4.5 / np.sqrt(4.5 * 5)])


def test_equal_values_have_no_order() -> None:
    assert np.isnan(spearman(np.array([1.0, 2.0]), np.array([[3.0, 3.0]])))[0]
