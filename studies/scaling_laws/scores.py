"""Perplexity, accuracy, and the longest context that a model holds, from sums over documents.

Lengths are in tokens, losses in nats a token; K is the number of rows of a `Sample`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rope_eval import local_loss
from rope_eval.errors import DataError
from rope_eval.local_loss import MARGIN, windows
from studies.scaling_laws.runs import Curve, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How a max context is read off a curve.

    Attributes:
        margin: nats a token that a longer context adds where it is lost.
        longest: the ceiling: no length beyond it is looked at; None for all that is measured.
        step: the grid: every so many of the measured lengths; 1 for all.
    """

    margin: float = MARGIN
    longest: int | None = None
    step: int = 1

    def of(self, curve: Curve) -> Curve:
        """Return the curve at the lengths that the rule looks at."""
        lengths = curve.lengths[:: self.step]
        if self.longest is not None:
            lengths = tuple(n for n in lengths if n <= self.longest)
        return curve.at(lengths)


AS_JUDGED = Rule()
"""The rule that all findings judge by."""


def cumulative_nll(curve: Curve, sample: Sample, length: int) -> Floats:
    """Return nats a token over all that is scored up to a length, [K]."""
    sums = curve.sums(sample, [curve.index(length)])[:, 0]
    return sums / (sample.totals[:, 0] * (length - 1))


def cumulative_accuracy(curve: Curve, sample: Sample, length: int) -> Floats:
    """Return the part of the tokens up to a length that were the most likely one, [K]."""
    sums = sample.weights @ curve.hits[:, curve.index(length)]
    return sums / (sample.totals[:, 0] * (length - 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A curve at a length, and against another one.

    Attributes:
        nll: cumulative, nats a token.
        difference: this one minus the other; below zero this one is better.
    """

    nll: Estimate
    difference: Estimate


def compare(laboratory: Laboratory, curve: Curve, other: Curve, length: int) -> Difference:
    """Compare two curves at a length, paired by documents."""
    sample = laboratory.sample
    nll = cumulative_nll(curve, sample, length)
    difference = nll - cumulative_nll(other, sample, length)
    return Difference(nll=sample.estimate(nll), difference=sample.estimate(difference))


def perplexities(curve: Curve) -> Floats:
    """Return the cumulative perplexity of all documents at every length, [L]."""
    tokens = len(curve.nll) * (np.array(curve.lengths) - 1)
    return np.exp(curve.nll.sum(0) / tokens)


def accuracies(curve: Curve) -> Floats:
    """Return the cumulative accuracy of all documents at every length, [L]."""
    return curve.hits.sum(0) / (len(curve.hits) * (np.array(curve.lengths) - 1))


def local_nll(curve: Curve, sample: Sample, spans: list[tuple[int, int]]) -> Floats:
    """Return nats a token over the tokens between two lengths, [K, spans].

    Args:
        curve: a curve of one pass; elsewhere a token's score depends on the length it is read at.
        sample: rows of documents.
        spans: indices of two lengths each.
    """
    assert curve.one_pass, "a curve of several passes has no local loss"
    if not spans:
        raise DataError(
            f"{curve.checkpoint.name} ({curve.method}) was not measured at the lengths of a window "
            "that is asked for"
        )
    begins, ends = ([span[side] for span in spans] for side in (0, 1))
    seen = np.array(curve.lengths)
    nats = curve.sums(sample, ends) - curve.sums(sample, begins)
    return nats / (sample.totals * (seen[ends] - seen[begins]))


def local_curve(curve: Curve) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the windows' lengths and the loss of all documents in each, of one pass alone."""
    assert curve.one_pass, "a curve of several passes has no local loss"
    begins, ends = (np.array(side) for side in zip(*windows(curve.lengths), strict=True))
    lengths, sums = np.array(curve.lengths), curve.nll.mean(0)
    return lengths[ends], (sums[ends] - sums[begins]) / (lengths[ends] - lengths[begins])


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Measured max contexts of a checkpoint.

    Attributes:
        values: in tokens, [K]; ``longest`` where the context is never lost.
        longest: the longest length measured; the true context is beyond it.
    """

    values: Floats
    longest: int

    @property
    def beyond(self) -> npt.NDArray[np.bool_]:
        """Whether the context is never lost, [K]."""
        return self.values >= self.longest


def excess_nll(
    curve: Curve, in_window: Curve, sample: Sample, spans: list[tuple[int, int]]
) -> Floats:
    """Return the loss that a longer context adds to the tokens between two lengths, [K, spans].

    Paired: what the tokens cost after all that stands before them, minus what the same tokens
    cost, by the same model, in windows of T_tune.
    """
    return local_nll(curve, sample, spans) - local_nll(in_window, sample, spans)


def excess_curve(curve: Curve, in_window: Curve) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the windows' lengths and the loss that a longer context adds, of all documents."""
    lengths, nll = local_curve(curve)
    return lengths, nll - local_curve(in_window)[1]


def max_context(curve: Curve, in_window: Curve, sample: Sample, rule: Rule = AS_JUDGED) -> Context:
    """Return the measured max context: where the first window that is lost begins.

    A window counts from T_tune on. It is lost when its tokens' loss, pooled over documents, is
    above that of the same tokens in windows of T_tune by more than the margin. On a grid too wide
    for the usual windows each is from one length to the next.
    """
    curve, in_window = rule.of(curve), rule.of(in_window)
    tune, lengths = curve.checkpoint.tune_length, curve.lengths
    found = windows(lengths)
    if rule.step > 1 and not found:
        found = [(i, i + 1) for i in range(len(lengths) - 1)]
    spans = [span for span in found if lengths[span[0]] >= tune]
    excess = excess_nll(curve, in_window, sample, spans)
    values = local_loss.max_context(excess, lengths, spans, rule.margin)
    return Context(values=values, longest=lengths[-1])
