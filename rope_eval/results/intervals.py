"""How far a stored score may be chance: the 95 % interval of each number of the frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.results.metrics import is_fraction, plain
from rope_eval.results.samples import scores_of
from rope_eval.results.stats import Interval, ratio_bootstrap, wilson
from rope_eval.results.store import Run, Store

SUMS: Mapping[str, int] = MappingProxyType({"perplexity": 0, "nll": 0, "accuracy": 1})
"""Which of nats and hits a metric sums, where tokens are what it is a mean of."""


class Intervals:
    """The intervals of a run's scores.

    A fraction of a task's items has Wilson's. Everything else has the percentile interval of a
    bootstrap over what its score is made of, where that is kept: the documents of whole books, for
    the tokens of one are not independent, or the items of a task. One document has none, nor have
    items that are all alike. Of few documents a bootstrap is too narrow.

    Args:
        store: where the run is.
        run: the run.
    """

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._run = run

    def of(self, line: Mapping[str, Any]) -> Interval | None:
        """Return the interval of a number of the frame, or None where it has none."""
        metric, value, n = line["metric"], line["value"], line.get("n")
        if self._run.kind in ("cumulative", "perplexity"):
            return of_sums(metric, self._documents(line["length"]))
        if line["measurement"] != "perplexity" and is_fraction(metric):
            return wilson(value, n) if n and 0 <= value <= 1 else None
        samples = np.array(list(scores_of(self._arrays, line["task"], metric).values()))
        if samples.ndim == 2:
            return of_sums(metric, samples)
        if len(np.unique(samples)) < 2:
            return None
        return ratio_bootstrap(samples.astype(np.float64), np.ones(len(samples)))

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return self._store.arrays(self._run.key)

    def _documents(self, length: int) -> npt.NDArray[np.float64]:
        """Return nats, hits and tokens of each document at a length."""
        at = self._run.request["lengths"].index(length)
        documents = [sums[at] for sums in self._run.results.get("by_document", [])]
        return np.array([[one["nll"], one["hits"], one["tokens"]] for one in documents])


def of_sums(metric: str, sums: npt.NDArray[np.floating]) -> Interval | None:
    """Return the interval of a score that is made of sums, or None for fewer than two documents.

    Args:
        metric: perplexity, nll or accuracy, or one of these at a length.
        sums: nats, hits and tokens of each document ``[documents, 3]``.
    """
    name = plain(metric)
    if len(sums) < 2 or name not in SUMS:
        return None
    low, high = ratio_bootstrap(sums[:, SUMS[name]], sums[:, 2])
    return (_exp(low), _exp(high)) if name == "perplexity" else (low, high)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
