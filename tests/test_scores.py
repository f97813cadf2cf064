"""Sums and counts to the last line."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rope_eval.scores import Sums, TokenScores, sums_at, total


def scores(*nll: float) -> TokenScores:
    return TokenScores(nll=np.array(nll, np.float32), hit=np.array(nll) < 1)


def test_a_length_counts_the_first_token() -> None:
    assert sums_at(scores(0.5, 2.0, 4.0), 2) == Sums(nll=0.5, hits=1, tokens=1)
    assert sums_at(scores(0.5, 2.0, 4.0), 4) == Sums(nll=6.5, hits=1, tokens=3)
    assert sums_at(scores(0.5, 0.5, 0.5, 0.5), 3) == Sums(nll=1.0, hits=2, tokens=2)


def test_a_document_that_is_too_short_is_our_fault() -> None:
    with pytest.raises(AssertionError):
        sums_at(scores(0.5, 2.0), 4)


def test_documents_are_pooled_not_averaged() -> None:
    pooled = total([sums_at(scores(0.5, 0.5), 3), sums_at(scores(4.0), 2)])
    assert pooled.perplexity == pytest.approx(math.exp(5 / 3))
    assert pooled.accuracy == pytest.approx(2 / 3)
    assert Sums(nll=1.5, hits=3, tokens=7) + Sums(nll=2.0, hits=3, tokens=7) == Sums(
        nll=3.5, hits=6, tokens=14
    )


def test_sums_are_in_double_precision() -> None:
    tenth = np.float32(0.1)
    many = scores(*[float(tenth)] * 100_000)
    assert many.nll.sum() != pytest.approx(100_000 * float(tenth), rel=1e-9)  # it would show
    assert sums_at(many, 100_001).nll == pytest.approx(100_000 * float(tenth), rel=1e-9)
    assert Sums(nll=1e6, tokens=1).perplexity == math.inf
