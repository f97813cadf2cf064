"""Scores of tokens, and their sums and counts to the last line: never a mean of ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The scores of a document's tokens, the first excepted.

    Attributes:
        nll: −ln p(x_i | x_<i) in nats, float32 ``[T − 1]``.
        hit: whether x_i was the most likely token, bool ``[T − 1]``.
    """

    nll: npt.NDArray[np.float32]
    hit: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Totals over scored tokens: ``nll`` in nats, ``hits`` and ``tokens`` as counts.

    Where a mean is of windows, they are totals of windows' means, and ``tokens`` counts windows.
    """

    nll: float = 0.0
    hits: float = 0
    tokens: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            nll=self.nll + other.nll,
            hits=self.hits + other.hits,
            tokens=self.tokens + other.tokens,
        )

    @property
    def perplexity(self) -> float:
        """The exponential of nats per token; infinite where that overflows."""
        try:
            return math.exp(self.nll / self.tokens)
        except OverflowError:
            return math.inf

    @property
    def accuracy(self) -> float:
        """The part of the tokens that were the most likely one, 0 to 1."""
        return self.hits / self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the totals as plain JSON values."""
        return asdict(self)


def sums_at(scores: TokenScores, length: int) -> Sums:
    """Total a document's scores up to `length` tokens seen, the first (BOS) included.

    Args:
        scores: of at least ``length`` tokens, so at least ``length − 1`` scores.
        length: tokens seen, 2 or more.
    """
    nll = scores.nll[: length - 1]
    assert len(nll) == length - 1, "a document shorter than the length was let through"
    return Sums(
        nll=float(nll.sum(dtype=np.float64)),
        hits=int(scores.hit[: length - 1].sum()),
        tokens=length - 1,
    )


Windows = npt.NDArray[np.float64]
"""Nats, hits, scored tokens and new tokens of each window of a document, ``[W, 4]``."""


def last_sums(scores: TokenScores, length: int, last: int) -> Sums:
    """Total the scores of the last tokens of the first `length`; fewer than that are scored."""
    some = slice(length - 1 - last, length - 1)
    return Sums(
        nll=float(scores.nll[some].sum(dtype=np.float64)),
        hits=int(scores.hit[some].sum()),
        tokens=last,
    )


def window_sums(rows: Windows, mean: str | None) -> Sums:
    """Total a document's windows.

    Args:
        rows: the windows.
        mean: over "tokens" (None too), over "windows", or of "guide": windows by their new tokens
            less one.
    """
    nll, hits, scored, new = rows.T
    if mean in (None, "tokens"):
        return Sums(nll=float(nll.sum()), hits=int(hits.sum()), tokens=int(scored.sum()))
    weights = np.ones(len(rows)) if mean == "windows" else new - 1
    return Sums(
        nll=float((nll / scored * weights).sum()),
        hits=float((hits / scored * weights).sum()),
        tokens=int(weights.sum()),
    )


def total(sums: Iterable[Sums]) -> Sums:
    """Add the totals of several documents."""
    return sum(sums, start=Sums())
