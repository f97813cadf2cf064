"""What checkpoints keep: up to where they retrieve, and up to where perplexity holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rope_eval import theory
from rope_eval.results.stats import Interval, wilson
from studies.scaling_laws.contexts import Held, held
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
        retrieves: the length up to which every accuracy is at least `ENOUGH`; 0 where that of the
            shortest is not.
        held: the measured max context.
    """

    retrieval: Retrieval
    curves: tuple[Curve, Curve]
    accuracy: tuple[float, ...]
    intervals: tuple[Interval, ...]
    answer_nll: tuple[float, ...]
    feasible: int | None
    retrieves: Estimate
    held: Held

    @property
    def checkpoint(self) -> Checkpoint:
        """What was measured."""
        return self.retrieval.checkpoint

    @property
    def learned(self) -> bool:
        """Whether it retrieves at the shortest length: elsewhere there is nothing to lose."""
        return self.accuracy[0] >= ENOUGH

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
    def loses(self) -> bool | None:
        """Whether retrieval is lost at a length past the bound where perplexity is kept.

        None where no such length was measured, or retrieval was never learned.
        """
        marks = self.marks(under=True)
        if not self.learned or not marks:
            return None
        return any(interval[1] < ENOUGH for _, _, interval in marks)

    @property
    def retrieves_past(self) -> int | None:
        """Longest length past the base's bound that is retrieved at beyond doubt, or None."""
        past = [
            n
            for n, interval in zip(self.retrieval.lengths, self.intervals, strict=True)
            if self.feasible is not None
            and self.feasible < n <= self.retrieves.value
            and interval[0] > ENOUGH
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
            "retrieves_up_to": plain(self.retrieves),
            "learned": self.learned,
            "retrieves_past_its_bound": self.retrieves_past,
            "max_context": self.held.to_dict(),
            "keeps_perplexity_and_loses_retrieval": self.loses,
        }


def reached(retrieval: Retrieval, sample: Sample) -> Floats:
    """Return the length up to which every accuracy is at least `ENOUGH`, the needle first, [K].

    0 where that of the shortest is not.
    """
    marks = sample.weights @ retrieval.right[:, :, 0] / sample.totals  # [K, L]
    holds = np.cumprod(marks >= ENOUGH, axis=1)
    return np.asarray((holds * np.array(retrieval.lengths, dtype=np.float64)).max(1))


def kept(laboratory: Laboratory, retrieval: Retrieval) -> Kept:
    """Work out what a checkpoint keeps."""
    sample = Sample(len(retrieval.right), laboratory.sets)
    right = retrieval.right[:, :, 0]
    marks = right.mean(0)
    checkpoint = retrieval.checkpoint
    curve = laboratory.trained(checkpoint)
    first = theory.first_negative(checkpoint.base, curve.lengths[-1], checkpoint.head_dim)
    return Kept(
        retrieval=retrieval,
        curves=(curve, laboratory.in_window(checkpoint)),
        accuracy=tuple(float(mark) for mark in marks),
        intervals=tuple(wilson(float(mark), len(right)) for mark in marks),
        answer_nll=tuple(float(x) for x in retrieval.nll[:, :, 0].mean(0)),
        feasible=None if first is None else first - 1,
        retrieves=sample.estimate(reached(retrieval, sample)),
        held=held(laboratory, checkpoint),
    )


def everything(laboratory: Laboratory) -> list[Kept]:
    """Return all checkpoints that were probed as trained, one seed each, by T_tune and base."""
    return [
        kept(laboratory, laboratory.retrieval[c.name, AS_TRAINED])
        for c in laboratory.checkpoints
        if (c.name, AS_TRAINED) in laboratory.retrieval
        and not c.dropped
        and c == laboratory.seeds_of(c)[0]
    ]
