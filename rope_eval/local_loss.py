"""The loss of tokens near a length, and the longest context that a model holds by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Span = tuple[int, int]

WINDOW = 2**0.25
"""A window's end over its beginning: the window of a length L is (L / WINDOW, L]."""

MARGIN = 0.3
"""Nats a token that a longer context adds to a window's loss where the context is lost."""


def windows(lengths: Sequence[int]) -> list[Span]:
    """Return the indices of the lengths at which each window begins and ends.

    A window's beginning is the given length nearest to L / WINDOW, on a logarithmic scale; a window
    that has none within a quarter of its own width has no place.

    >>> windows([64, 76, 91, 108, 256])
    [(0, 1), (1, 2), (2, 3)]
    """
    found = []
    logs = np.log(lengths)
    for end, log_length in enumerate(logs):
        wanted = log_length - math.log(WINDOW)
        begin = int(np.abs(logs - wanted).argmin())
        if begin < end and abs(logs[begin] - wanted) < math.log(WINDOW) / 4:
            found.append((begin, end))
    return found


def local_nll(
    sums: Floats, lengths: Sequence[int], spans: Sequence[Span], weights: Floats
) -> Floats:
    """Return nats a token over the tokens between two lengths, [K, S].

    Args:
        sums: nats of each document up to each length, of one pass, [D, L].
        lengths: tokens seen, increasing, [L].
        spans: S pairs of indices of lengths.
        weights: how often each document counts, [K, D].
    """
    begins, ends = (np.array(side) for side in zip(*spans, strict=True))
    seen = np.array(lengths)
    nll = weights @ (sums[:, ends] - sums[:, begins])
    found: Floats = nll / (weights.sum(1, keepdims=True) * (seen[ends] - seen[begins]))
    return found


def max_context(
    excess: Floats, lengths: Sequence[int], spans: Sequence[Span], margin: float = MARGIN
) -> Floats:
    """Return where the first window that is lost begins, [K]; the longest length where none is.

    A window is lost where its excess is above the margin. A loss that jumps by 1 nat at B so gives
    a length of at most B, and above B / WINDOW by no less than the step of the lengths.

    Args:
        excess: nats a token that a longer context adds in each window, [K, S].
        lengths: tokens seen, increasing, [L].
        spans: of the windows from the training length on, S pairs of indices of lengths.
        margin: nats a token.
    """
    lost = excess > margin
    begins = np.array([lengths[begin] for begin, _ in spans], dtype=np.float64)
    return np.where(lost.any(1), begins[lost.argmax(1)], lengths[-1])
