"""What checkpoints keep: up to where they retrieve, and up to where perplexity holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rope_eval import theory
from rope_eval.results.stats import Interval, wilson
from studies.scaling_laws.contexts import Held, held_alone
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory, Retrieval
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain

ENOUGH = 0.5
"""Accuracy from which a length counts as retrieved at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a checkpoint keeps, in tokens, and what the base's bound says.

    Attributes:
        retrieval: the marks.
        curves: loss over whole documents, and of the same tokens in windows of T_tune.
        accuracy: at each length, over samples, of the needle that stands first: its distance from
            the question is the length.
        intervals: Wilson's, of each accuracy, over samples.
        answer_nll: nats of the whole answer, mean at each length, of the same.
        feasible: up to which distance B(m) ≥ 0; None where it is beyond the longest length.
        finds: the farthest measured distance with an accuracy of at least `ENOUGH`; 0 where none
            has. Shorter ones may fail: see `gaps`.
        finds_rows: the same in all rows of the samples, [K].
        held: the measured max context.
    """

    retrieval: Retrieval
    curves: tuple[Curve, Curve]
    accuracy: tuple[float, ...]
    intervals: tuple[Interval, ...]
    answer_nll: tuple[float, ...]
    feasible: int | None
    finds: Estimate
    finds_rows: Floats
    held: Held

    @property
    def checkpoint(self) -> Checkpoint:
        """What was measured."""
        return self.retrieval.checkpoint

    @property
    def learned(self) -> bool:
        """Whether it retrieves beyond doubt at some distance within T_tune.

        Not at the shortest alone: a base whose pairs all turn within a few tokens may find needles
        at some distances and not at others.
        """
        return any(
            interval[0] > ENOUGH
            for n, interval in zip(self.retrieval.lengths, self.intervals, strict=True)
            if n <= self.checkpoint.tune_length
        )

    @property
    def gaps(self) -> list[int]:
        """Distances shorter than the farthest one found at which needles are not found."""
        return [
            n
            for n, mark in zip(self.retrieval.lengths, self.accuracy, strict=True)
            if n < self.finds.value and mark < ENOUGH
        ]

    def marks(self, *, under: bool) -> list[tuple[int, float, Interval]]:
        """Return (length, accuracy, interval) where perplexity is kept.

        Args:
            under: at lengths that the base is under the bound of; else at those it is not.
        """
        return [
            (n, mark, interval)
            for n, mark, interval in zip(
                self.retrieval.lengths, self.accuracy, self.intervals, strict=True
            )
            if n <= self.held.estimate.value
            and (self.feasible is not None and n > self.feasible) == under
        ]

    @property
    def control(self) -> tuple[int, float] | None:
        """The longest distance up to the bound where perplexity is kept, and its accuracy."""
        marks = self.marks(under=False)
        return marks[-1][:2] if self.learned and marks else None

    @property
    def loses(self) -> bool | None:
        """Whether retrieval is lost at a length past the bound where perplexity is kept.

        None where no such length was measured, or retrieval was never learned.
        """
        marks = self.marks(under=True)
        if not self.learned or not marks:
            return None
        return any(interval[1] < ENOUGH for _, _, interval in marks)

    @property
    def finds_past(self) -> int | None:
        """Farthest distance past the base's bound that is found beyond doubt, or None."""
        past = [
            n
            for n, interval in zip(self.retrieval.lengths, self.intervals, strict=True)
            if self.feasible is not None and self.feasible < n and interval[0] > ENOUGH
        ]
        return max(past, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "tune_length": self.checkpoint.tune_length,
            "samples": len(self.retrieval.right),
            "depth": self.retrieval.depths[0],
            "lengths": list(self.retrieval.lengths),
            "accuracy": list(self.accuracy),
            "wilson": plain(self.intervals),
            "answer_nll": list(self.answer_nll),
            "feasible_length": self.feasible,
            "finds_as_far_as": plain(self.finds),
            "gaps": self.gaps,
            "learned": self.learned,
            "finds_past_its_bound": self.finds_past,
            "max_context": self.held.to_dict(),
            "keeps_perplexity_and_loses_retrieval": self.loses,
        }


def reached(retrieval: Retrieval, sample: Sample) -> Floats:
    """Return the farthest distance with an accuracy of at least `ENOUGH`, the needle first, [K].

    0 where none has. Shorter ones may fail, so that a method or a base that misses some distance is
    not taken to find nothing beyond it.
    """
    marks = sample.weights @ retrieval.right[:, :, 0] / sample.totals  # [K, L]
    return np.asarray(((marks >= ENOUGH) * np.array(retrieval.lengths, dtype=np.float64)).max(1))


def kept(laboratory: Laboratory, retrieval: Retrieval) -> Kept:
    """Work out what a checkpoint keeps."""
    sample = Sample(len(retrieval.right), laboratory.sets)
    right = retrieval.right[:, :, 0]
    marks = right.mean(0)
    checkpoint = retrieval.checkpoint
    curve = laboratory.trained(checkpoint)
    rows = reached(retrieval, sample)
    first = theory.first_negative(checkpoint.base, curve.lengths[-1], checkpoint.head_dim)
    return Kept(
        retrieval=retrieval,
        curves=(curve, laboratory.in_window(checkpoint)),
        accuracy=tuple(float(mark) for mark in marks),
        intervals=tuple(wilson(float(mark), len(right)) for mark in marks),
        answer_nll=tuple(float(x) for x in retrieval.nll[:, :, 0].mean(0)),
        feasible=None if first is None else first - 1,
        finds=sample.estimate(rows),
        finds_rows=rows,
        held=held_alone(laboratory, checkpoint),
    )


def everything(laboratory: Laboratory) -> list[Kept]:
    """Return all that were probed as trained, each seed by itself, by T_tune and base."""
    return [
        kept(laboratory, laboratory.retrieval[c.name, AS_TRAINED])
        for c in laboratory.checkpoints
        if (c.name, AS_TRAINED) in laboratory.retrieval and not c.dropped
    ]
