"""Mean attention scores by relative position, as a value that can be pooled; no model, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rope_eval.errors import SpecError

PARTS = ("before", "beyond")
MOST_BINS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionProfile:
    """Sums and counts of attention scores by relative position; ``a + b`` pools documents.

    The second to last axis of sums and squares is the part of the score: 0 the pairs before the
    first pair beyond, 1 those from it on.

    Attributes:
        bin_edges: int64 ``[E + 1]``: bin i has the relative positions t − s from ``bin_edges[i]``
            to ``bin_edges[i + 1] − 1``.
        counts: pairs of a query and a key in each bin, for one head of one layer: int64 ``[E]``.
        sums: of the scores, float64 ``[L, N, 2, E]``.
        squares: of the scores squared, as sums.
    """

    bin_edges: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def __add__(self, other: AttentionProfile) -> AttentionProfile:
        """Return the profile of both sets of documents together.

        Raises:
            SpecError: where the bins, the layers or the heads differ.
        """
        if not np.array_equal(self.bin_edges, other.bin_edges) or (
            self.sums.shape != other.sums.shape
        ):
            raise SpecError(
                "profiles of other bins, layers or heads cannot be pooled: got shapes "
                f"{self.sums.shape} and {other.sums.shape}"
            )
        return AttentionProfile(
            bin_edges=self.bin_edges,
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
            squares=self.squares + other.squares,
        )

    def layer(self, index: int) -> AttentionProfile:
        """Return the profile of one layer alone."""
        return AttentionProfile(
            bin_edges=self.bin_edges,
            counts=self.counts,
            sums=self.sums[index][None],
            squares=self.squares[index][None],
        )

    def mean(self) -> npt.NDArray[np.float64]:
        """Return the mean over queries, heads and layers: float64 ``[2, E]``, NaN in empty bins."""
        return self._over_all(self.sums)

    def std(self) -> npt.NDArray[np.float64]:
        """Return the standard deviation over queries, heads and layers, as `mean`."""
        return np.sqrt(np.maximum(self._over_all(self.squares) - self.mean() ** 2, 0.0))

    def _over_all(self, sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        values = self.counts * math.prod(sums.shape[:2])
        some = np.where(values > 0, values, np.nan)
        return np.asarray(sums.sum((0, 1)) / some, dtype=np.float64)


def of_documents(profiles: Sequence[AttentionProfile]) -> dict[str, npt.NDArray[Any]]:
    """Return the profiles of documents over all layers and heads, each document by itself.

    Args:
        profiles: one a document, of the same bins, layers and heads.

    Returns:
        ``bin_edges`` as in `AttentionProfile`; ``counts`` of one document, int64 ``[E]``; ``sums``
        and ``squares``, float64 ``[D, 2, E]``.
    """
    layers, heads = profiles[0].sums.shape[:2]
    return {
        "bin_edges": profiles[0].bin_edges,
        "counts": profiles[0].counts * layers * heads,
        "sums": np.stack([profile.sums.sum((0, 1)) for profile in profiles]),
        "squares": np.stack([profile.squares.sum((0, 1)) for profile in profiles]),
    }


def bin_edges(length: int, bins: int, spacing: Literal["log", "linear"] = "log") -> tuple[int, ...]:
    """Return at most `bins` bins for the relative positions 0 … length − 1.

    Args:
        length: tokens.
        bins: how many; fewer where a bin would hold no whole number.
        spacing: "linear", or "log": position 0 alone, then bins of equal ratio.

    Raises:
        SpecError: for a length or bins below 1, or another spacing.

    >>> bin_edges(16, 5)
    (0, 1, 2, 4, 8, 16)
    >>> bin_edges(16, 4, "linear")
    (0, 4, 8, 12, 16)
    """
    if length < 1 or bins < 1:
        raise SpecError(f"want 1 or more tokens and bins, got {length} tokens and {bins} bins")
    if spacing == "linear":
        edges = np.linspace(0, length, bins + 1)
    elif spacing == "log":
        edges = np.append(0.0, np.geomspace(1, length, bins))
    else:
        raise SpecError(f"spacing must be log or linear, got {spacing!r}")
    return tuple(np.unique(edges.round().astype(int)).tolist())


def check_bins(bins: int) -> None:
    """Raise `SpecError` for more bins than a figure or a table can show."""
    if bins > MOST_BINS:
        raise SpecError(f"bins must be {MOST_BINS:,} or fewer, got {bins}")
