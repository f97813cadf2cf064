"""Fig. 7, Theorem 2: the measured max context of larger bases against T_extra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures.contexts import draw_against_bound
from studies.scaling_laws.claim import Finding, Picture, basis, spread, table, with_interval
from studies.scaling_laws.contexts import (
    DEFINITION,
    FACTOR,
    HEADERS,
    Held,
    follows,
    held,
    variants,
)
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.scores import AS_JUDGED, Rule
from studies.scaling_laws.verdicts import Check, statements, within

SLOPES = (0.75, 1.25)  # a slope of log on log within these agrees with the law, which says 1
CRITERION = (
    f"the slope of log measured on log T_extra lies between {SLOPES[0]} and {SLOPES[1]}; a context "
    f"is at least T_extra, and within a factor of {FACTOR} of it. Each with its whole interval; of "
    "bases above the critical one."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How measured max contexts M follow T_extra.

    Attributes:
        points: number of checkpoints.
        beyond_longest: how many of them hold more than anything measured; they have no part in
            slope and mean.
        slope: slope of log M on log T_extra, least squares.
        geometric_mean_ratio: of M / T_extra.
        worst_base: the base of the worst ratio either way, those beyond included.
        worst_tune_length: T_tune of that checkpoint.
        worst_ratio: M / T_extra of that checkpoint; where it is beyond, at least this.
    """

    points: int
    beyond_longest: int
    slope: Estimate
    geometric_mean_ratio: Estimate
    worst_base: float
    worst_tune_length: int
    worst_ratio: float

    @property
    def worst_checkpoint(self) -> str:
        """The base and the tuning length of the worst ratio."""
        return f"{base_label(self.worst_base)} at {self.worst_tune_length}"


def fit(points: Sequence[Held], sample: Sample) -> Fit:
    """Fit log M on log T_extra over the points whose M is within what was measured.

    In each resample and set the points are those within there.
    """
    x = np.log([p.checkpoint.bound for p in points])
    y = np.log([p.context.values for p in points]).T
    inside = np.array([~p.context.beyond for p in points]).T
    worst = max(points, key=lambda p: abs(math.log(p.ratio)))
    ratios = np.where(inside, y - x, 0).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_ratio = np.exp(ratios / inside.sum(1))
    return Fit(
        points=len(points),
        beyond_longest=sum(p.beyond for p in points),
        slope=sample.estimate(_slopes(x, y, inside)),
        geometric_mean_ratio=sample.estimate(mean_ratio),
        worst_base=worst.checkpoint.base,
        worst_tune_length=worst.checkpoint.tune_length,
        worst_ratio=worst.ratio,
    )


def _slopes(x: Floats, y: Floats, inside: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    """Return the slope of each row of y on x over the points inside; NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        count = inside.sum(1, keepdims=True)
        dx = np.where(inside, x - (inside * x).sum(1, keepdims=True) / count, 0)
        spread_x = (dx**2).sum(1)
        slopes: Floats = np.where(spread_x > 1e-12, (dx * y).sum(1) / spread_x, np.nan)
    return slopes


def larger(laboratory: Laboratory, rule: Rule = AS_JUDGED) -> list[Held]:
    """Return the max contexts of all bases of at least that of pre-training, by T_tune."""
    return [
        held(laboratory, checkpoint, rule)
        for tune in laboratory.tune_lengths
        for checkpoint in laboratory.tuned(tune)
        if checkpoint.base >= laboratory.pretrain_theta
    ]


def above(points: Sequence[Held]) -> list[Held]:
    """Return those above the critical base of their T_tune."""
    return [p for p in points if p.above]


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    points = larger(laboratory)
    if len(above(points)) < 2:
        raise DataError("fewer than two bases above the critical one")
    sample = laboratory.sample
    everything = fit(above(points), sample)
    fits = {"all": everything}
    for tune in laboratory.tune_lengths:
        some = [p for p in above(points) if p.checkpoint.tune_length == tune]
        if len(some) > 1:
            fits[f"T_tune = {tune}"] = fit(some, sample)
    others = {name: above(larger(laboratory, rule)) for name, rule in variants(laboratory).items()}
    tried = {name: fit(some, sample) for name, some in others.items()}
    return Finding(
        name="bound",
        title="The extrapolation bound of larger bases",
        source="arXiv 2310.05209, Theorem 2 and Fig. 7; Theorem 3 for longer tuning",
        claim="A model tuned with a larger base holds up to T_extra = 2π·β^(d_extra/d) tokens: "
        "max practical context lengths and the law align.",
        basis=basis(laboratory, [p.checkpoint for p in points]),
        numbers={
            "points": [p.to_dict() for p in points],
            "fits": plain(fits),
            "variants": plain(tried),
        },
        headline=f"slope {with_interval(everything.slope, 2)}, geometric mean ratio "
        f"{with_interval(everything.geometric_mean_ratio, 2)}, worst ratio "
        f"{everything.worst_ratio:.2f} (base {everything.worst_checkpoint})",
        checks=tuple(_checks(laboratory, above(points), fits)),
        criterion=CRITERION,
        tables=(
            table("Measured max contexts", HEADERS, [p.cells() for p in points]),
            _fits(
                "How those above the critical base follow the law, all and by T_tune (up to it "
                "T_extra is T_tune, and the measured max context no less by definition; points "
                "beyond the longest length have no part in slope and mean; the worst ratio is at "
                "least what is given where the point is one of them)",
                "points",
                fits,
            ),
            _fits(
                "The same for all points, where the max context is read off with other margins, "
                "up to other ceilings and on other grids",
                "read off with",
                tried,
            ),
            _answers(laboratory, others),
        ),
        pictures=(
            Picture(
                file="bound.png",
                shows="measured max context against T_extra, with the line of equality",
                draw=lambda: draw_against_bound(
                    {
                        f"tuned at {tune}": [
                            p.point() for p in points if p.checkpoint.tune_length == tune
                        ]
                        for tune in sorted({p.checkpoint.tune_length for p in points})
                    },
                    {p.checkpoint.base: base_label(p.checkpoint.base) for p in points},
                    title="Measured max context against Theorem 2 (labels: base)",
                ),
            ),
        ),
        definitions=(DEFINITION,),
    )


def _checks(laboratory: Laboratory, points: Sequence[Held], fits: dict[str, Fit]) -> list[Check]:
    checks = [
        within("the context grows with T_extra, at a slope of 1", name, one.slope, *SLOPES)
        for name, one in fits.items()
        if name != "all" or len(fits) == 1
    ]
    for p in points:
        at = f"{base_label(p.checkpoint.base)} at {p.checkpoint.tune_length}"
        bound = p.checkpoint.bound
        checks.append(within("the context is at least T_extra", at, p.estimate, bound, math.inf))
        own = p.checkpoint.tune_length == laboratory.train_length
        law = "tuned at T_train (Theorem 2)" if own else "tuned longer (Theorem 3)"
        checks.append(follows(f"{law}: the context is T_extra", p, at=at))
    return checks


def _answers(laboratory: Laboratory, tried: dict[str, list[Held]]) -> str:
    rows = []
    for name, points in tried.items():
        found = statements(_checks(laboratory, points, {"all": fit(points, laboratory.sample)}))
        rows.append([name, *(f"{len(one.at(True))} of {len(one.checks)}" for one in found[1:])])
    return table(
        "At how many points the statements hold then",
        ["read off with", *(one.text for one in found[1:])],
        rows,
    )


def _fits(words: str, name: str, fits: dict[str, Fit]) -> str:
    rows = [
        [
            label,
            f"{f.points} ({f.beyond_longest})",
            with_interval(f.slope, 2),
            spread(f.slope, 2),
            with_interval(f.geometric_mean_ratio, 2),
            spread(f.geometric_mean_ratio, 2),
            f"{f.worst_ratio:.2f} ({f.worst_checkpoint})",
        ]
        for label, f in fits.items()
    ]
    headers = [name, "number (beyond)", "slope", "by set", "mean ratio", "by set", "worst ratio"]
    return table(words, headers, rows)
