"""Theorem 3, Fig. 9: the critical base moves with T_tune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures.contexts import Law, draw_against_base
from studies.scaling_laws.claim import Finding, Picture, basis, table
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
from studies.scaling_laws.scores import AS_JUDGED, Rule
from studies.scaling_laws.verdicts import Check

CRITERION = (
    "the shortest measured max context is that of the measured base next below β₀; a longer tuning "
    f"has it at a larger base; bases from β₁ up to β₀ hold T_tune within a factor of {FACTOR}, "
    "those below β₁ more than T_tune, each with its whole interval. Bases above β₀ are judged with "
    "the bound."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """All bases that were tuned at a length.

    Attributes:
        length: T_tune.
        points: the bases with their max contexts, the smallest first.
    """

    length: int
    points: tuple[Held, ...]

    @property
    def critical_base(self) -> float:
        """β₀ of Theorem 3."""
        return self.points[0].checkpoint.critical_base

    @property
    def worst(self) -> tuple[float, ...]:
        """The bases of the shortest measured max context; several where it is a tie."""
        shortest = min(p.estimate.value for p in self.points)
        return tuple(p.checkpoint.base for p in self.points if p.estimate.value == shortest)

    @property
    def nearest(self) -> float | None:
        """The measured base nearest to the critical one of those up to it.

        Above it T_extra begins at more than T_tune, as d_extra is rounded up.
        """
        return max((p.checkpoint.base for p in self.points if not p.above), default=None)

    @property
    def sides(self) -> dict[bool, tuple[Held, ...]]:
        """The bases up to the critical one (False) and above it (True), those of no bound out."""
        bounded = [p for p in self.points if not unbounded(p)]
        sides = {above: tuple(p for p in bounded if p.above == above) for above in (False, True)}
        return {above: points for above, points in sides.items() if points}


def unbounded(point: Held) -> bool:
    """Return whether the base is below β₁, where Theorem 3 gives no bound.

    Bases are chosen at rounded pivots, so one within 5 % of β₁ counts as β₁ itself.
    """
    return point.checkpoint.base < theory.pivot_bases(point.checkpoint.tune_length)[0] / 1.05


def following(points: Sequence[Held]) -> int:
    """Return how many bases hold up to T_extra, within `FACTOR`."""
    return sum(follows("", p, at="").holds is True for p in points)


def tuned(laboratory: Laboratory, rule: Rule = AS_JUDGED) -> list[Tuned]:
    """Return the bases by what they were tuned at."""
    return [
        Tuned(length=length, points=tuple(held(laboratory, c, rule) for c in some))
        for length in laboratory.tune_lengths
        if (some := laboratory.tuned(length))
    ]


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = tuned(laboratory)
    if not found:
        raise DataError("no tuned checkpoints")
    everything = [p for one in found for p in one.points]
    return Finding(
        name="critical-base",
        title="The critical base moves with the tuning length",
        source="arXiv 2310.05209, Theorem 3 (App. C) and Fig. 9",
        claim="The critical base β₀ grows with T_tune and is the worst base. Up to it a model "
        "holds T_tune tokens, above it 2π·β^(d_extra/d); below the pivots it holds on beyond "
        "T_tune, without a bound.",
        basis=basis(laboratory, [p.checkpoint for p in everything]),
        numbers={
            "points": [p.to_dict() for p in everything],
            "sides": [
                {
                    "tune_length": one.length,
                    "side": "above" if above else "up to",
                    "bases": [p.checkpoint.base for p in points],
                    "ratios": [p.ratio for p in points],
                    "within_factor": following(points),
                }
                for one in found
                for above, points in one.sides.items()
            ],
            "worst_bases": {str(one.length): list(one.worst) for one in found},
        },
        headline="; ".join(
            f"tuned at {one.length}: β₀ {base_label(float(f'{one.critical_base:.2g}'))}, shortest "
            f"at {' and '.join(map(base_label, one.worst))}"
            for one in found
        ),
        checks=tuple(_checks(found)),
        criterion=CRITERION,
        tables=(_contexts(everything), _summary(found), _tried(laboratory)),
        pictures=(
            Picture(
                file="critical-base.png",
                shows="measured max context and the law against the base, a panel a tuning length",
                draw=partial(_draw, found),
            ),
        ),
        definitions=(
            DEFINITION,
            "For bases below the pivots of their T_tune (β < β₁) the theorem gives no bound: they "
            "count on neither side. A base follows the law where its measured max context is "
            f"within a factor of {FACTOR} of T_extra, either way.",
        ),
    )


def _checks(found: Sequence[Tuned]) -> list[Check]:
    checks = [
        Check(
            statement="the measured base next below β₀ has the shortest context",
            at=f"{base_label(one.nearest)} of T_tune {one.length}",
            holds=one.nearest in one.worst,
        )
        for one in found
        if one.nearest is not None
    ]
    checks += [
        Check(
            statement="a longer tuning has its shortest context at a larger base",
            at=f"{one.length} to {longer.length}",
            holds=max(one.worst) < min(longer.worst),
        )
        for one, longer in pairwise(found)
    ]
    for one in found:
        checks += [
            follows(
                "from β₁ up to β₀ a base holds T_tune",
                p,
                at=f"{base_label(p.checkpoint.base)} at {one.length}",
            )
            for p in one.sides.get(False, ())
        ]
    for one in found:
        checks += [
            Check(
                statement="below β₁ a base holds more than T_tune",
                at=f"{base_label(p.checkpoint.base)} at {one.length}",
                holds=True if p.estimate.low > one.length else None,
            )
            for p in one.points
            if unbounded(p)
        ]
    return checks


def _tried(laboratory: Laboratory) -> str:
    rows = []
    for name, rule in variants(laboratory).items():
        found = tuned(laboratory, rule)
        rows.append([name, *(", ".join(map(base_label, one.worst)) for one in found)])
    headers = ["read off with", *(f"T_tune = {length}" for length in laboratory.tune_lengths)]
    return table("The bases of the shortest context, read off in other ways", headers, rows)


def _contexts(points: Sequence[Held]) -> str:
    rows = []
    for p in points:
        side = "below β₁: no bound" if unbounded(p) else "above β₀" if p.above else "up to β₀"
        rows.append([*p.cells(), side])
    return table("Every tuned base", [*HEADERS, "side"], rows)


def _summary(found: Sequence[Tuned]) -> str:
    rows = []
    for one in found:
        worst = ", ".join(map(base_label, one.worst))
        row = [str(one.length), f"{one.critical_base:.0f}", worst]
        for above in (False, True):
            points = one.sides.get(above, ())
            row.append(f"{following(points)} of {len(points)}" if points else "–")
        rows.append(row)
    headers = ["T_tune", "β₀", "shortest context", "follow up to β₀", "follow above β₀"]
    return table("Against the critical base", headers, rows)


def _draw(found: Sequence[Tuned]) -> Figure:
    bases = [p.checkpoint.base for one in found for p in one.points]
    along = np.geomspace(min(bases) / 2, max(bases) * 2, 600)
    laws = []
    for one in found:
        checkpoint = one.points[0].checkpoint
        bounds = [
            theory.extrapolation_bound(
                base,
                head_dim=checkpoint.head_dim,
                train_length=checkpoint.train_length,
                tune_length=one.length,
                pretrain_theta=checkpoint.pretrain_theta,
            )
            for base in along
        ]
        laws.append(
            Law(
                title=f"tuned at {one.length}",
                contexts=[p.point() for p in one.points],
                bases=[float(base) for base in along],
                bounds=bounds,
                critical_base=one.critical_base,
                pivots=theory.pivot_bases(one.length),
            )
        )
    return draw_against_base(
        laws,
        shortest=min(one.length for one in found) / 1.3,
        longest=max(p.context.longest for one in found for p in one.points) * 1.6,
    )
