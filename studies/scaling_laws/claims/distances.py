"""arXiv 2405.14591 at every distance: where needles are found, and where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from rope_eval.results.stats import Interval, wilson
from studies.scaling_laws.claim import Finding, Picture, percent, table
from studies.scaling_laws.like_tokens import FARTHEST, feasible_length
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.retrieved import ENOUGH
from studies.scaling_laws.runs import AtDistances, Checkpoint, Laboratory
from studies.scaling_laws.sampling import Floats, plain
from studies.scaling_laws.verdicts import Check

WIDTH = 8
"""Distances in a bin."""

CRITERION = (
    f"needles are found in a bin of {WIDTH} distances where the accuracy's whole interval is above "
    f"{ENOUGH:.0%}, lost where it is below, and it is open elsewhere. A checkpoint that finds none "
    "within T_tune is a failed control and no point of the first two statements."
)


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = everything(laboratory)
    if not found:
        raise DataError("no needles at distances drawn from a range")
    shortest, longest = found[0].starts[0], found[0].ends[-1]
    return Finding(
        name="distances",
        title="Needles at every distance",
        source="arXiv 2405.14591",
        claim="A base under its bound for a length loses retrieval there, and has it up to the "
        "bound.",
        basis=f"{len(found[0].marks.right)} samples of each checkpoint, each at a distance of its "
        f"own, drawn uniformly, stratified, from {shortest} to {longest} tokens; one seed. "
        f"Wilson's intervals over the samples of {WIDTH} distances: of {len(found[0].ends)} bins "
        "one in twenty may lie outside of its own. What does not ship was not measured.",
        numbers={"checkpoints": [one.to_dict() for one in found]},
        headline="; ".join(
            f"{one.checkpoint.name} finds {percent(one.share)} of all, at "
            f"{_said(one.found) or 'no distance beyond doubt'}"
            for one in found
        ),
        checks=tuple(check for one in found for check in _checks(one)),
        criterion=CRITERION,
        tables=(_ranges(found), _bins(found)),
        pictures=(
            Picture(
                file="retrieval-distances.png",
                shows="retrieval accuracy against the needle's distance, in bins, a panel a "
                "tuning length",
                draw=partial(_draw, found),
            ),
        ),
        definitions=(
            "A needle stands first in a text and is asked for at its end: the distance is the "
            "text's length. The bound's length is the largest m up to which B is not negative, of "
            f"the pairs that a checkpoint was trained with (looked at up to {FARTHEST} tokens).",
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Where a checkpoint finds needles, in bins of `WIDTH` distances.

    Attributes:
        marks: the samples.
        feasible: up to which distance its B is not negative; None for `FARTHEST` or more.
    """

    marks: AtDistances
    feasible: int | None

    @property
    def checkpoint(self) -> Checkpoint:
        """What was measured."""
        return self.marks.checkpoint

    @property
    def share(self) -> float:
        """The part of all needles that is found."""
        return float(self.marks.right.mean())

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The least distance of each bin."""
        distances = self.marks.distance
        return tuple(range(int(distances.min()), int(distances.max()) + 1, WIDTH))

    @property
    def ends(self) -> tuple[int, ...]:
        """The greatest distance of each bin."""
        return (*(start - 1 for start in self.starts[1:]), int(self.marks.distance.max()))

    @cached_property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """The needles found and those asked for in each bin."""
        place = (self.marks.distance - self.starts[0]) // WIDTH
        hits, asked = (
            np.bincount(place, weights=weights, minlength=len(self.starts))
            for weights in (self.marks.right, np.ones(len(place)))
        )
        return tuple((int(hit), int(n)) for hit, n in zip(hits, asked, strict=True))

    @property
    def accuracy(self) -> Floats:
        """The part found in each bin; NaN where none was asked for."""
        return np.array([hits / n if n else np.nan for hits, n in self.counts])

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        """Wilson's, of each bin; 0 to 1 where none was asked for."""
        return tuple(wilson(hits / n, n) if n else (0.0, 1.0) for hits, n in self.counts)

    @property
    def found(self) -> list[tuple[int, int]]:
        """Ranges of distances at which needles are found."""
        return self._ranges([low > ENOUGH for low, _ in self.intervals])

    @property
    def lost(self) -> list[tuple[int, int]]:
        """Ranges of distances at which needles are lost."""
        return self._ranges([high < ENOUGH for _, high in self.intervals])

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Those of `lost` that lie before a distance at which needles are found."""
        farthest = max((last for _, last in self.found), default=0)
        return [(first, last) for first, last in self.lost if last < farthest]

    @property
    def learned(self) -> bool:
        """Whether needles are found at some distance within T_tune."""
        return any(
            end <= self.checkpoint.tune_length and low > ENOUGH
            for end, (low, _) in zip(self.ends, self.intervals, strict=True)
        )

    def holds_up_to(self, length: float) -> bool | None:
        """Return whether needles are found in every bin up to a length; None where it is open."""
        within = [
            interval
            for end, interval in zip(self.ends, self.intervals, strict=True)
            if end <= length
        ]
        if any(high < ENOUGH for _, high in within):
            return False
        return True if within and all(low > ENOUGH for low, _ in within) else None

    def finds_past(self, length: float) -> bool:
        """Return whether needles are found in a bin that begins past a length."""
        return any(
            start > length and low > ENOUGH
            for start, (low, _) in zip(self.starts, self.intervals, strict=True)
        )

    def _ranges(self, holds: Sequence[bool]) -> list[tuple[int, int]]:
        """Return the bins of which something holds, neighbours as one."""
        ranges: list[tuple[int, int]] = []
        for start, end, one in zip(self.starts, self.ends, holds, strict=True):
            if one and ranges and ranges[-1][1] == start - 1:
                ranges[-1] = ranges[-1][0], end
            elif one:
                ranges.append((start, end))
        return ranges

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "tune_length": self.checkpoint.tune_length,
            "feasible_length": self.feasible,
            "samples": len(self.marks.right),
            "share_found": self.share,
            "bins": [list(one) for one in zip(self.starts, self.ends, strict=True)],
            "accuracy": plain(self.accuracy),
            "wilson": plain(self.intervals),
            "found": plain(self.found),
            "lost": plain(self.lost),
            "gaps": plain(self.gaps),
        }


def everything(laboratory: Laboratory) -> list[Found]:
    """Return all that was asked for needles at distances from a range, by T_tune and base."""
    return [
        Found(marks=marks, feasible=feasible_length(checkpoint, checkpoint.rope))
        for checkpoint in laboratory.checkpoints
        if (marks := laboratory.distances.get((checkpoint.name, AS_TRAINED))) is not None
    ]


def _checks(one: Found) -> list[Check]:
    name, tune = one.checkpoint.name, one.checkpoint.tune_length
    checks = [
        Check(
            statement="needles are found at some distance within T_tune",
            at=name,
            holds=one.learned,
            control=True,
        )
    ]
    bound = FARTHEST if one.feasible is None else one.feasible
    if one.learned and bound < one.ends[-1]:
        statement = "no needle is found past the bound"
        checks.append(Check(statement=statement, at=name, holds=not one.finds_past(bound)))
    if one.learned and one.ends[0] <= bound:
        statement = "needles are found at every distance up to the bound and T_tune"
        holds = one.holds_up_to(min(bound, tune))
        checks.append(Check(statement=statement, at=name, holds=holds))
    return checks


def _said(ranges: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{first}–{last}" for first, last in ranges)


def _ranges(found: Sequence[Found]) -> str:
    rows = [
        [
            one.checkpoint.name,
            base_label(one.checkpoint.base),
            str(one.checkpoint.tune_length),
            f"> {FARTHEST}" if one.feasible is None else str(one.feasible),
            percent(one.share),
            _said(one.found) or "none",
            _said(one.gaps) or "none",
        ]
        for one in found
    ]
    headers = ["checkpoint", "base", "T_tune", "B(m) ≥ 0 up to", "found of all"]
    headers += ["found at", "lost before that"]
    return table(
        "Distances in tokens at which needles are found beyond doubt, and those nearer than the "
        "farthest of them at which they are lost beyond doubt",
        headers,
        rows,
    )


def _bins(found: Sequence[Found]) -> str:
    rows = [
        [
            f"{start}–{end}",
            *(
                f"{percent(one.accuracy[i])} "
                f"[{100 * one.intervals[i][0]:.0f}, {100 * one.intervals[i][1]:.0f}]"
                for one in found
            ),
        ]
        for i, (start, end) in enumerate(zip(found[0].starts, found[0].ends, strict=True))
    ]
    return table(
        "Retrieval accuracy by distance",
        ["distances", *(one.checkpoint.name for one in found)],
        rows,
    )


def _draw(found: Sequence[Found]) -> Figure:
    """Draw the accuracy in each bin, a panel a tuning length."""
    panels = []
    for tune in sorted({one.checkpoint.tune_length for one in found}):
        some = [one for one in found if one.checkpoint.tune_length == tune]
        lines = [
            Line(
                label=one.checkpoint.name,
                lengths=[
                    (start + end) / 2 for start, end in zip(one.starts, one.ends, strict=True)
                ],
                values=one.accuracy,
                band=one.intervals,
                look={"color": style.COLOURS[i % len(style.COLOURS)], "lw": 1.4},
            )
            for i, one in enumerate(some)
        ]
        panels.append(Panel(title=f"tuned at {tune}", lines=lines, train_length=tune))
    return draw_panels(
        [panels],
        [Scale(label="retrieval accuracy", limits=(-0.03, 1.03), level=ENOUGH)],
        label="distance in tokens (dotted: $T_{tune}$)",
        height=3.4,
        legend="columns",
        legend_columns=2,
    )
