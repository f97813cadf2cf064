"""Windows, the loss in them, and the context that is held, on sums whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from rope_eval.local_loss import MARGIN, WINDOW, local_nll, max_context, windows

LENGTHS = [round(32 * 2 ** (k / 8)) for k in range(33)]  # 32 to 512


def sums(loss_beyond: float, at: int, documents: int = 3) -> np.ndarray:
    """Return nats up to each length: 1 a token, and `loss_beyond` a token from `at` on."""
    one = [(min(n, at) - 1) + max(n - at, 0) * loss_beyond for n in LENGTHS]
    return np.array([one] * documents)


def test_a_window_is_two_eighths_of_an_octave() -> None:
    found = windows(LENGTHS)
    assert found == [(end - 2, end) for end in range(2, len(LENGTHS))]
    assert windows([64, 128, 256]) == []  # none has its beginning
    for begin, end in found:
        assert LENGTHS[end] / LENGTHS[begin] == pytest.approx(WINDOW, rel=0.02)


def test_the_loss_is_of_the_tokens_between() -> None:
    nll = np.array([[63.0, 127.0, 383.0], [63.0, 191.0, 255.0]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    found = local_nll(nll, [64, 128, 256], [(0, 1), (1, 2)], weights)
    assert found == pytest.approx(np.array([[1.5, 1.25], [1.0, 2.0]]))


@pytest.mark.parametrize("at", [128, 181, 256])
def test_the_context_ends_where_the_first_window_is_lost(at: int) -> None:
    weights = np.ones((1, 3))
    past = [span for span in windows(LENGTHS) if LENGTHS[span[0]] >= 64]
    excess = local_nll(sums(2.0, at), LENGTHS, past, weights) - 1.0
    (found,) = max_context(excess, LENGTHS, past)
    assert at / WINDOW / 1.01 < found <= at
    assert max_context(np.full_like(excess, MARGIN), LENGTHS, past) == [512]  # not above it
    assert max_context(excess, LENGTHS, past, margin=1.0) == [512]
