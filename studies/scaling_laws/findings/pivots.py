"""Theorem 1: where the improvement of smaller bases speeds up, against the pivots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rope_eval import theory
from rope_eval.errors import DataError
from studies.scaling_laws import scores
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    base_label,
    decided,
    markdown_table,
    percent,
    spread,
    with_interval,
)
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats

FACTORS = (4, 8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What lies between two neighbouring bases, at one length.

    Attributes:
        low: The smaller base.
        high: The larger base.
        slope: Nats a token that are gained for each factor e by which the base falls.
        steepest: In which part of the bootstrap resamples no segment is steeper.
    """

    low: float
    high: float
    slope: Estimate
    steepest: float

    @property
    def name(self) -> str:
        """The two bases, the larger first: the way the base is reduced."""
        return f"{base_label(self.high)} → {base_label(self.low)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pivot:
    """Whether the improvement speeds up at a pivot, at one length.

    Attributes:
        number: 1, 2 or 3, as in Eq. 1.
        base: The pivot.
        at: The measured base that is nearest.
        change: Slope of the segment below that base minus that of the one above.
    """

    number: int
    base: float
    at: float
    change: Estimate


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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "length": self.length,
            "nll": [e.to_dict() for e in self.nll],
            "segments": [
                {
                    "low": s.low,
                    "high": s.high,
                    "slope": s.slope.to_dict(),
                    "share_steepest": s.steepest,
                }
                for s in self.segments
            ],
            "steepest": [self.steepest.low, self.steepest.high],
            "pivots": [
                {
                    "number": p.number,
                    "base": p.base,
                    "measured_base": p.at,
                    "change_of_slope": p.change.to_dict(),
                }
                for p in self.pivots
            ],
        }


def improvement(laboratory: Laboratory, length: int) -> Improvement:
    """Measure how the cumulative loss at a length falls as the base is reduced."""
    smaller, sample = _smaller(laboratory), laboratory.sample
    bases = np.array([c.base for c in smaller])
    nll = np.array([scores.cumulative_nll(laboratory.trained(c), sample, length) for c in smaller])
    slopes: Floats = np.diff(nll, axis=0) / np.diff(np.log(bases))[:, None]
    steepest = slopes.argmax(0)
    pivots = []
    for number, base in enumerate(theory.pivot_bases(laboratory.train_length), start=1):
        at = int(np.abs(np.log(bases / base)).argmin())
        if 0 < at < len(slopes):
            change = sample.estimate(slopes[at - 1] - slopes[at])
            pivots.append(Pivot(number=number, base=base, at=float(bases[at]), change=change))
    return Improvement(
        length=length,
        nll=tuple(sample.estimate(row) for row in nll),
        segments=tuple(
            Segment(
                low=float(bases[i]),
                high=float(bases[i + 1]),
                slope=sample.estimate(row),
                steepest=sample.share(steepest == i),
            )
            for i, row in enumerate(slopes)
        ),
        pivots=tuple(pivots),
    )


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import pivots as figures

    smaller = _smaller(laboratory)
    lengths = laboratory.multiples(*FACTORS)
    if not lengths:
        raise DataError(f"no curve at {FACTORS} times {laboratory.train_length} tokens")
    results = [improvement(laboratory, length) for length in lengths]
    pivots = theory.pivot_bases(laboratory.train_length)
    return Finding(
        name="pivots",
        title="Where smaller bases speed up",
        source="arXiv 2310.05209, Theorem 1 and §2.2",
        claim="Reducing the base below that of pre-training improves extrapolation, and the "
        "improvement speeds up below the pivots β₁ = 2T/π, β₂ = T/π and β₃ = T/2π (here "
        f"{', '.join(f'{p:.0f}' for p in pivots)}).",
        basis=basis(laboratory, smaller),
        numbers={
            "pivots": list(pivots),
            "bases": [c.base for c in smaller],
            "lengths": [r.to_dict() for r in results],
        },
        headline="steepest: " + ", ".join(f"{r.steepest.name} at {r.length}" for r in results),
        checks=tuple(_checks(results, pivots[0])),
        tables=(_segments(results), _pivots(results)),
        pictures=(
            Picture(
                file="pivots.png",
                shows="cumulative perplexity and its slope against the base, with the pivots",
                draw=partial(figures.draw_pivots, [c.base for c in smaller], results, pivots),
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
        for pivot in result.pivots:
            checks.append(
                Check(
                    statement=f"the improvement speeds up below β{pivot.number} at {result.length}",
                    holds=decided(pivot.change, above=True),
                )
            )
        at = min((p.at for p in result.pivots if p.number == 1), default=first_pivot)
        checks.append(
            Check(
                statement=f"it is steepest below β1 at {result.length}",
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
            row += [with_interval(one.slope), spread(one.slope), percent(one.steepest)]
        rows.append(row)
    headers = ["base"]
    for result in results:
        headers += [f"slope at {result.length}", "by set", "steepest in"]
    return (
        "Nats a token gained for each factor e of reduction (steepest in: the part of the "
        f"resamples in which no segment is steeper):\n\n{markdown_table(headers, rows)}"
    )


def _pivots(results: Sequence[Improvement]) -> str:
    rows = [
        [
            f"β{pivot.number} = {pivot.base:.1f}",
            base_label(pivot.at),
            str(result.length),
            with_interval(pivot.change, signed=True),
            spread(pivot.change, signed=True),
            {1: "yes", 0: "open", -1: "no"}[pivot.change.sign],
        ]
        for result in results
        for pivot in result.pivots
    ]
    headers = ["pivot", "measured base", "length", "change of slope below it", "by set"]
    return f"At the pivots:\n\n{markdown_table([*headers, 'speeds up?'], rows)}"
