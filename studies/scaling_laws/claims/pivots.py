"""Theorem 1: where the improvement of smaller bases speeds up, against the pivots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures.bases import Fall, draw_by_base
from studies.scaling_laws import tunings
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    answer,
    basis,
    percent,
    spread,
    table,
    with_interval,
)
from studies.scaling_laws.runs import JUDGED, Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, plain
from studies.scaling_laws.scores import cumulative_nll
from studies.scaling_laws.verdicts import Check, above_zero

DRAWN = 3  # lengths of the figure, from the second judged one on
CRITERION = (
    "the segment of bases below the measured one nearest to a pivot is steeper than the one above "
    "it, with the whole interval of the difference; the steepest of all lies below β₁."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What lies between two neighbouring bases, at one length.

    Attributes:
        low: the smaller base.
        high: the larger base.
        slope: nats a token that are gained for each factor e by which the base falls.
        share_steepest: the share of the bootstrap resamples in which no segment is steeper.
    """

    low: float
    high: float
    slope: Estimate
    share_steepest: float

    @property
    def name(self) -> str:
        """The two bases, the larger first: the way the base is reduced."""
        return f"{base_label(self.high)} → {base_label(self.low)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pivot:
    """Whether the improvement speeds up at a pivot, at one length.

    Attributes:
        number: 1, 2 or 3, as in Eq. 1.
        base: the pivot.
        measured_base: the measured base that is nearest.
        change_of_slope: slope of the segment below that base minus that of the one above.
    """

    number: int
    base: float
    measured_base: float
    change_of_slope: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Improvement:
    """How the loss falls with the base, at one length; the smallest base first."""

    length: int
    nll: tuple[Estimate, ...]
    segments: tuple[Segment, ...]
    pivots: tuple[Pivot, ...]

    @property
    def steepest(self) -> Segment:
        """The segment of the largest slope."""
        return max(self.segments, key=lambda segment: segment.slope.value)


def improvement(laboratory: Laboratory, length: int) -> Improvement:
    """Measure how the cumulative loss at a length falls as the base is reduced."""
    smaller, sample = _smaller(laboratory), laboratory.sample
    bases = np.array([c.base for c in smaller])
    curves = [tunings.trained(laboratory, c) for c in smaller]
    nll = np.array([cumulative_nll(curve, sample, length) for curve in curves])
    slopes: Floats = np.diff(nll, axis=0) / np.diff(np.log(bases))[:, None]
    steepest = slopes.argmax(0)
    pivots = []
    for number, base in enumerate(theory.pivot_bases(laboratory.train_length), start=1):
        at = int(np.abs(np.log(bases / base)).argmin())
        if 0 < at < len(slopes):
            pivots.append(
                Pivot(
                    number=number,
                    base=base,
                    measured_base=float(bases[at]),
                    change_of_slope=sample.estimate(slopes[at - 1] - slopes[at]),
                )
            )
    return Improvement(
        length=length,
        nll=tuple(sample.estimate(row) for row in nll),
        segments=tuple(
            Segment(
                low=float(bases[i]),
                high=float(bases[i + 1]),
                slope=sample.estimate(row),
                share_steepest=sample.share(steepest == i),
            )
            for i, row in enumerate(slopes)
        ),
        pivots=tuple(pivots),
    )


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    smaller = _smaller(laboratory)
    lengths = laboratory.judged(smaller[-1])
    if not lengths:
        raise DataError(f"no curve at {JUDGED} times {laboratory.train_length} tokens")
    results = [improvement(laboratory, length) for length in lengths]
    pivots = theory.pivot_bases(laboratory.train_length)
    bases = [c.base for c in smaller]
    return Finding(
        name="pivots",
        title="Where smaller bases speed up",
        source="arXiv 2310.05209, Theorem 1 and §2.2",
        claim="Reducing the base below that of pre-training improves extrapolation, and the "
        "improvement speeds up below the pivots β₁ = 2T/π, β₂ = T/π and β₃ = T/2π (here "
        f"{', '.join(f'{p:.0f}' for p in pivots)}).",
        basis=basis(laboratory, smaller),
        numbers=plain(
            {
                "pivots": pivots,
                "bases": bases,
                "lengths": [
                    {
                        "length": r.length,
                        "nll": r.nll,
                        "segments": r.segments,
                        "steepest": (r.steepest.low, r.steepest.high),
                        "pivots": r.pivots,
                    }
                    for r in results
                ],
            }
        ),
        headline="steepest: " + ", ".join(f"{r.steepest.name} at {r.length}" for r in results),
        checks=tuple(_checks(results, pivots[0])),
        criterion=CRITERION,
        tables=(_segments(results), _pivots(results)),
        pictures=(
            Picture(
                file="pivots.png",
                shows="cumulative perplexity and its slope against the base, with the pivots",
                draw=partial(_draw, bases, results[1 : 1 + DRAWN] or results, pivots),
            ),
        ),
        definitions=(
            "The slope of a segment between two neighbouring bases is the fall of the cumulative "
            "loss, in nats a token, for each factor e by which the base falls. The improvement "
            "speeds up at a pivot where the segment below the base nearest to it is steeper than "
            "the one above.",
        ),
    )


def _smaller(laboratory: Laboratory) -> list[Checkpoint]:
    tuned = laboratory.tuned(laboratory.train_length)
    smaller = [c for c in tuned if c.base <= laboratory.pretrain_theta]
    if len(smaller) < 3:
        raise DataError("fewer than three bases up to that of pre-training")
    return smaller


def _checks(results: Sequence[Improvement], first_pivot: float) -> list[Check]:
    checks = []
    for result in results:
        checks += [
            above_zero(
                f"the improvement speeds up below β{pivot.number}",
                f"{result.length}",
                pivot.change_of_slope,
            )
            for pivot in result.pivots
        ]
        at = min((p.measured_base for p in result.pivots if p.number == 1), default=first_pivot)
        checks.append(
            Check(
                statement="the improvement is steepest below β1",
                at=f"{result.length}",
                holds=result.steepest.high <= at,
            )
        )
    return checks


def _segments(results: Sequence[Improvement]) -> str:
    rows = []
    for i, segment in reversed(list(enumerate(results[0].segments))):
        row = [segment.name]
        for result in results:
            one = result.segments[i]
            row += [with_interval(one.slope), spread(one.slope), percent(one.share_steepest)]
        rows.append(row)
    headers = ["base"]
    for result in results:
        headers += [f"slope at {result.length}", "by set", "steepest in"]
    return table(
        "Nats a token gained for each factor e of reduction (steepest in: the part of the "
        "resamples in which no segment is steeper)",
        headers,
        rows,
    )


def _pivots(results: Sequence[Improvement]) -> str:
    rows = [
        [
            f"β{pivot.number} = {pivot.base:.1f}",
            base_label(pivot.measured_base),
            str(result.length),
            with_interval(pivot.change_of_slope, signed=True),
            spread(pivot.change_of_slope, signed=True),
            answer(pivot.change_of_slope),
        ]
        for result in results
        for pivot in result.pivots
    ]
    headers = ["pivot", "measured base", "length", "change of slope below it", "by set"]
    return table("At the pivots", [*headers, "speeds up?"], rows)


def _draw(
    bases: Sequence[float], results: Sequence[Improvement], pivots: Sequence[float]
) -> Figure:
    falls = [
        Fall(
            label=f"at {result.length} tokens",
            perplexity=np.exp([_ends(nll) for nll in result.nll]),
            slopes=[_ends(segment.slope) for segment in result.segments],
        )
        for result in results
    ]
    return draw_by_base(
        bases,
        [base_label(base) for base in bases],
        falls,
        pivots=pivots,
        title="Perplexity of smaller bases, and how fast it falls",
    )


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
