"""Theorem 3, Fig. 9: the critical base moves with T_tune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rope_eval import theory
from rope_eval.errors import DataError
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    base_label,
    markdown_table,
)
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.findings.contexts import DEFINITION, HEADERS, Held, held
from studies.scaling_laws.runs import Laboratory

FACTOR = 1.5  # a measured max context within this factor of T_extra, either way, follows the law


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """The bases on one side of the critical base of a T_tune, those of no bound left out.

    Attributes:
        tune_length: T_tune.
        above: Whether above the critical base.
        points: The bases.
    """

    tune_length: int
    above: bool
    points: tuple[Held, ...]

    @property
    def follow(self) -> int:
        """How many of them hold up to T_extra, within `FACTOR`."""
        return sum(1 / FACTOR <= p.ratio <= FACTOR for p in self.points)


def worst_bases(points: Sequence[Held]) -> tuple[float, ...]:
    """Return the bases of the shortest measured max context; several where it is a tie."""
    shortest = min(p.estimate.value for p in points)
    return tuple(p.checkpoint.base for p in points if p.estimate.value == shortest)


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import contexts as figures

    points = {
        tune: [held(laboratory, c) for c in laboratory.tuned(tune)]
        for tune in laboratory.tune_lengths
    }
    points = {tune: some for tune, some in points.items() if some}
    if not points:
        raise DataError("no tuned checkpoints")
    sides = [side for tune, some in points.items() for side in _sides(tune, some)]
    worst = {tune: worst_bases(some) for tune, some in points.items()}
    everything = [p for some in points.values() for p in some]
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
                    "tune_length": s.tune_length,
                    "side": "above" if s.above else "up to",
                    "bases": [p.checkpoint.base for p in s.points],
                    "ratios": [p.ratio for p in s.points],
                    "within_factor": s.follow,
                }
                for s in sides
            ],
            "worst_bases": {str(tune): list(bases) for tune, bases in worst.items()},
        },
        headline="; ".join(
            f"tuned at {tune}: β₀ {base_label(_two(some[0].checkpoint.critical_base))}, shortest "
            f"at {' and '.join(base_label(b) for b in worst[tune])}"
            for tune, some in points.items()
        ),
        checks=tuple(_checks(points, sides, worst)),
        tables=(_contexts(everything), _summary(points, sides, worst)),
        pictures=(
            Picture(
                file="critical-base.png",
                shows="measured max context and the law against the base, a panel a tuning length",
                draw=partial(figures.draw_critical_base, everything, laboratory.pretrain_theta),
            ),
        ),
        definitions=(
            DEFINITION,
            "For bases below the pivots of their T_tune (β < β₁) the theorem gives no bound: they "
            "count on neither side. A base follows the law where its measured max context is "
            f"within a factor of {FACTOR} of T_extra, either way.",
        ),
    )


def unbounded(point: Held) -> bool:
    """Return whether the base is below β₁, where Theorem 3 gives no bound.

    Bases are chosen at rounded pivots, so one within 5 % of β₁ counts as β₁ itself.
    """
    return point.checkpoint.base < theory.pivot_bases(point.checkpoint.tune_length)[0] / 1.05


def _sides(tune: int, points: Sequence[Held]) -> list[Side]:
    bounded = [p for p in points if not unbounded(p)]
    above = tuple(p for p in bounded if p.checkpoint.base > p.checkpoint.critical_base)
    below = tuple(p for p in bounded if p.checkpoint.base <= p.checkpoint.critical_base)
    return [
        Side(tune_length=tune, above=is_above, points=some)
        for is_above, some in ((False, below), (True, above))
        if some
    ]


def _two(base: float) -> float:
    return float(f"{base:.2g}")


def _nearest(points: Sequence[Held]) -> float:
    """Return the measured base nearest to the critical one of those up to it.

    Above it T_extra begins at more than T_tune, as d_extra is rounded up.
    """
    critical = points[0].checkpoint.critical_base
    return max((p.checkpoint.base for p in points if p.checkpoint.base <= critical), default=0.0)


def _checks(
    points: dict[int, list[Held]], sides: Sequence[Side], worst: dict[int, tuple[float, ...]]
) -> list[Check]:
    checks = [
        Check(
            statement=f"tuned at {tune}, the base next below β₀ ({base_label(_nearest(some))}) has "
            "the shortest measured max context",
            holds=_nearest(some) in worst[tune],
        )
        for tune, some in points.items()
        if _nearest(some)
    ]
    checks += [
        Check(
            statement=f"tuned at {side.tune_length}, all bases {_name(side)} hold up to T_extra "
            f"within a factor of {FACTOR}",
            holds=side.follow == len(side.points),
        )
        for side in sides
    ]
    for tune, some in points.items():
        small = [p for p in some if unbounded(p)]
        if small:
            checks.append(
                Check(
                    statement=f"tuned at {tune}, the bases below β₁ hold on beyond T_tune",
                    holds=all(p.estimate.low > tune for p in small),
                )
            )
    return checks


def _name(side: Side) -> str:
    return "above β₀" if side.above else "from β₁ up to β₀"


def _contexts(points: Sequence[Held]) -> str:
    rows = []
    for point in points:
        above = point.checkpoint.base > point.checkpoint.critical_base
        side = "below β₁: no bound" if unbounded(point) else "above β₀" if above else "up to β₀"
        rows.append([*point.cells(), side])
    return f"Every tuned base:\n\n{markdown_table([*HEADERS, 'side'], rows)}"


def _summary(
    points: dict[int, list[Held]], sides: Sequence[Side], worst: dict[int, tuple[float, ...]]
) -> str:
    rows: list[list[str]] = []
    for tune, some in points.items():
        row: list[Any] = [
            str(tune),
            f"{some[0].checkpoint.critical_base:.0f}",
            ", ".join(base_label(b) for b in worst[tune]),
        ]
        for above in (False, True):
            side = [s for s in sides if s.tune_length == tune and s.above == above]
            row.append(f"{side[0].follow} of {len(side[0].points)}" if side else "–")
        rows.append(row)
    headers = ["T_tune", "β₀", "shortest context", "follow up to β₀", "follow above β₀"]
    return f"Against the critical base:\n\n{markdown_table(headers, rows)}"
