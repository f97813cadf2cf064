"""What was measured against a baseline: differences, and how far they may be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from rope_eval.errors import DataError
from rope_eval.report.pooled import Pooled
from rope_eval.report.runs import Part, Score
from rope_eval.report.sides import Side
from rope_eval.results.conditions import unlike
from rope_eval.results.metrics import plain
from rope_eval.results.stats import (
    Interval,
    Z,
    mean_variance,
    newcombe,
    paired_bootstrap,
    ratio_bootstrap,
)

Unit: TypeAlias = Literal["points", "nats"]
_LIKE_ENOUGH = ("dtype",)  # what may differ, and is said


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A column of both sides.

    Attributes:
        column: as in the paper, or a task or books and a metric.
        baseline: the baseline's score: in percent, or perplexity, or nats a token.
        score: the run's score.
        difference: of the run's and the baseline's: in points, or nats a token.
        unit: of the difference.
        interval: of the difference, 95 %, or None where none can be said.
        method: how the interval was worked out, or why there is none.
        notes: what is not alike about the two scores.
    """

    column: str
    baseline: float
    score: float
    difference: float
    unit: Unit = "points"
    interval: Interval | None
    method: str
    notes: tuple[str, ...] = ()

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval is there and leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def is_worse(self, points: float | None, nats: float | None) -> bool:
        """Return whether the run is worse by more than so much, where that is said."""
        if self.unit == "points":
            return points is not None and self.difference < -points
        return nats is not None and self.difference > nats


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A run against a baseline.

    Attributes:
        run: its name.
        baseline: its name.
        differences: of the columns that both have a number in.
        not_compared: why the others of the baseline's columns are not there, by column.
    """

    run: str
    baseline: str
    differences: tuple[Difference, ...]
    not_compared: Mapping[str, str] = field(default_factory=dict)

    def worse(self, points: float | None = None, nats: float | None = None) -> list[str]:
        """Return the columns in which the run is worse by more than so much."""
        return [d.column for d in self.differences if d.is_worse(points, nats)]


def compare(run: Side, baseline: Side, *, allow_unlike: bool = False) -> Comparison:
    """Return the differences of the columns that both sides have.

    Args:
        run: one side.
        baseline: the other.
        allow_unlike: compare what was not asked alike too, with a note.

    Raises:
        DataError: where they have none in common.
    """
    differences: list[Difference] = []
    blanks: dict[str, str] = {}
    for column in baseline.columns:
        try:
            differences.append(_difference(column, run, baseline, allow_unlike))
        except _NotComparedError as why:
            blanks[column] = str(why)
    if not differences:
        ours, theirs = (", ".join(_numbers(side)) or "none" for side in (run, baseline))
        reasons = "; ".join(
            f"{column}: {why}" for column, why in blanks.items() if why != _not_run(run)
        )
        raise DataError(
            f"{run.name} and {baseline.name} have no column in common: {ours} against {theirs}"
            + (f" ({reasons})" if reasons else "")
        )
    return Comparison(
        run=run.name,
        baseline=baseline.name,
        differences=tuple(differences),
        not_compared=blanks,
    )


class _NotComparedError(Exception):
    """Why two scores are not compared."""


def _numbers(side: Side) -> list[str]:
    scores = [column for column, score in side.scores.items() if score.value is not None]
    return [*scores, *side.pooled]


def _not_run(run: Side) -> str:
    return f"{run.name}: not run"


def _difference(column: str, run: Side, baseline: Side, allow_unlike: bool) -> Difference:
    if column in run.scores and column in baseline.scores:
        ours, theirs = run.scores[column], baseline.scores[column]
        protocols = () if run.protocol == baseline.protocol else (run.protocol, baseline.protocol)
        notes = _unlike(ours.conditions, theirs.conditions, allow_unlike, protocols)
        for side, score in ((run, ours), (baseline, theirs)):
            if score.value is None:
                raise _NotComparedError(f"{side.name}: {'; '.join(score.notes)}")
        return _of_scores(column, ours, theirs, notes)
    if column in run.pooled and column in baseline.pooled:
        pooled, other = run.pooled[column], baseline.pooled[column]
        notes = _unlike(pooled.conditions, other.conditions, allow_unlike)
        return _of_sums(column, pooled, other, notes)
    raise _NotComparedError(_not_run(run))


def _unlike(
    run: Mapping[str, str],
    baseline: Mapping[str, str],
    allow: bool,
    protocols: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return what was asked otherwise; what makes other scores of it is not compared."""
    said = unlike(run, baseline)
    said += [f"protocol {protocols[0]} against {protocols[1]}"] if protocols else []
    bad = [text for text in said if not text.startswith(_LIKE_ENOUGH)]
    if bad and not allow:
        raise _NotComparedError(f"not asked alike: {', '.join(bad)}")
    return tuple(said)


def _of_scores(column: str, run: Score, baseline: Score, notes: tuple[str, ...]) -> Difference:
    assert run.value is not None and baseline.value is not None, "a blank was let through"
    interval, method = _interval(run, baseline)
    return Difference(
        column=column,
        baseline=100 * baseline.value,
        score=100 * run.value,
        difference=100 * run.value - 100 * baseline.value,
        interval=interval and (100 * interval[0], 100 * interval[1]),
        method=method,
        notes=notes
        + _other_items(run, baseline)
        + tuple(f"run: {note}" for note in run.notes)
        + tuple(f"baseline: {note}" for note in baseline.notes),
    )


def _other_items(run: Score, baseline: Score) -> tuple[str, ...]:
    counts = [sum(part.n or 0 for part in score.parts) for score in (run, baseline)]
    if counts[0] == counts[1] or not all(counts):
        return ()
    return (f"{counts[0]} items against {counts[1]}",)


def _of_sums(column: str, run: Pooled, baseline: Pooled, notes: tuple[str, ...]) -> Difference:
    """Return the difference over the documents that both have: nats a token, or hits in points.

    Of one document nothing says how another would do, and there is no interval.
    """
    ours, theirs = run.sums(), baseline.sums()
    what = "item" if plain(run.metric) == "nll" else "document"
    shared = [name for name in theirs if name in ours]
    if not shared:
        known = ours and theirs
        raise _NotComparedError(
            f"no {what} in common" if known else f"what each {what} got was not kept"
        )
    mine, other = (np.array([sums[name] for name in shared]) for sums in (ours, theirs))
    tokens = mine[:, 2]
    if (tokens != other[:, 2]).any():
        raise _NotComparedError("other tokens: the tokenizers differ")
    is_hits = plain(run.metric) == "accuracy"
    kind = 1 if is_hits else 0
    scale = 100.0 if is_hits else 1.0
    apart = scale * (mine[:, kind] - other[:, kind])
    count = f"{len(shared)} {what}{'' if len(shared) == 1 else 's'}"
    interval: Interval | None = None
    if len(shared) == 1:
        method = f"one {what}: no interval"
    elif len(np.unique(apart / tokens)) == 1:
        method = f"{count} that differ by the same: no interval"
    else:
        interval, method = ratio_bootstrap(apart, tokens), f"paired bootstrap, {count}"
    if not len(shared) == len(ours) == len(theirs):
        notes += (f"{count} shared of {len(ours)} and {len(theirs)}",)
    means = [scale * float(sums[:, kind].sum() / tokens.sum()) for sums in (mine, other)]
    show = _perplexity if plain(run.metric) == "perplexity" else float
    return Difference(
        column=column,
        baseline=show(means[1]),
        score=show(means[0]),
        difference=float(apart.sum() / tokens.sum()),
        unit="points" if is_hits else "nats",
        interval=interval,
        method=method,
        notes=notes,
    )


def _perplexity(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def _interval(run: Score, baseline: Score) -> tuple[Interval | None, str]:
    """Return the interval of run − baseline, as fractions, and how it was worked out.

    Where all items differ by the same, resampling them would say that nothing is left to chance:
    that is not what a few items can say, and the binomial interval stands in.
    """
    paired = _paired(run.parts, baseline.parts)
    if paired is not None and len(np.unique(np.concatenate(paired))) > 1:
        alike = sum(len(np.unique(part)) == 1 for part in paired)
        pooled = f", {alike} of {len(paired)} parts from the items of all" if alike else ""
        return paired_bootstrap(paired), "paired bootstrap" + pooled
    ours, theirs = _proportions(run.parts), _proportions(baseline.parts)
    if not ours or (baseline.parts and not theirs):
        return None, "number of items unknown"
    if len(ours) == len(theirs) == 1:
        return newcombe(*ours[0], *theirs[0]), "binomial"
    assert run.value is not None and baseline.value is not None
    variance = mean_variance(ours) + mean_variance(theirs or ours)
    difference, spread = run.value - baseline.value, Z * math.sqrt(variance)
    how = "binomial, parts" if theirs else "binomial, parts; the paper's taken as spread as these"
    return (difference - spread, difference + spread), how


def _paired(run: Sequence[Part], baseline: Sequence[Part]) -> list[np.ndarray] | None:
    """Return the items' differences in each part, if both sides have the same items."""
    if not run or [part.task for part in run] != [part.task for part in baseline]:
        return None
    differences = []
    for ours, theirs in zip(run, baseline, strict=True):
        mine, other = ours.samples(), theirs.samples()
        if not mine or mine.keys() != other.keys():
            return None
        differences.append(np.array([mine[item] - other[item] for item in mine]))
    return differences


def _proportions(parts: Sequence[Part]) -> list[tuple[float, int]]:
    """Return (p, n) of every part, or nothing where one has no number of items."""
    known = [(part.value, part.n) for part in parts if part.value is not None and part.n]
    return known if len(known) == len(parts) else []
