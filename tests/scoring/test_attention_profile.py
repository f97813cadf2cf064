"""The bins of relative positions."""

from __future__ import annotations

import numpy as np
import pytest

from rope_eval.errors import SpecError
from rope_eval.scoring.attention_profile import bin_edges


def test_edges() -> None:
    assert bin_edges(1, 10) == (0, 1)
    assert bin_edges(5, 100, "linear") == (0, 1, 2, 3, 4, 5)
    edges = np.array(bin_edges(16384, 40))
    assert (edges[0], edges[-1]) == (0, 16384)
    assert len(edges) <= 41
    ratios = edges[-10:] / edges[-11:-1]
    assert ratios == pytest.approx(16384 ** (1 / 39), rel=0.01)
    for length, bins in ((0, 4), (4, 0)):
        with pytest.raises(SpecError, match="1 or more"):
            bin_edges(length, bins)
    with pytest.raises(SpecError, match="log or linear, got 'cubic'"):
        bin_edges(4, 4, "cubic")  # type: ignore[arg-type]
    assert (np.diff(edges) > 0).all()
