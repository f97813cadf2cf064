"""What was measured against a baseline: differences, and how far they may be chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.protocols.columns import ITEMS, TASKS
from rope_eval.report import published as paper
from rope_eval.report.runs import Part, Row, Score, items_of, rows_of
from rope_eval.results.conditions import unlike
from rope_eval.results.frame import HARNESSES
from rope_eval.results.stats import (
    Interval,
    Z,
    mean_variance,
    newcombe,
    paired_bootstrap,
)
from rope_eval.results.store import Store

_TABLES = ("3", "4", "5")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison: its name and its columns.

    A published score has one part without a name where its number of items is known, else none.
    """

    name: str
    scores: dict[str, Score]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A column of both sides; scores in percent, their difference in points.

    Attributes:
        column: as in the paper.
        baseline: the baseline's score.
        score: the run's score.
        interval: of the difference, 95 %, or None where the number of items is unknown.
        method: how the interval was worked out.
        notes: what is not alike about the two scores.
    """

    column: str
    baseline: float
    score: float
    interval: Interval | None
    method: str
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> float:
        """The run's score minus the baseline's."""
        return self.score - self.baseline

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval is there and leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


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

    def worse(self, points: float) -> list[str]:
        """Return the columns in which the run is worse by more than so many points."""
        return [d.column for d in self.differences if d.points < -points]


def side(text: str, store: Store, protocol: str = "paper") -> Side:
    """Return what a text on the command line names.

    Args:
        text: ``paper:LLaMA2 7B/base=10000`` (a row of Tables 3 to 5; ``paper:LLaMA2 7B`` is the
            row of that name), a run's key or the beginning of it, or a row of the catalogue or of
            a table of runs; where both harnesses ran it, ``lm_eval:`` or ``opencompass:`` and its
            name.
        store: where runs are.
        protocol: of measured scores.

    Raises:
        SpecError: for a row that the paper does not have.
        DataError: for a name that no run has, or several.
    """
    if text.startswith("paper:"):
        return _published(text, protocol)
    columns = list(TASKS[protocol])
    keys = [run.key for run in store.runs() if run.kind in HARNESSES and run.key.startswith(text)]
    rows = rows_of(store)
    rows = [row for row in rows if row.parts or row.others]
    found = [row for row in rows if text in (row.name, f"{row.harness}:{row.name}")]
    if not found and len(keys) == 1:
        found = rows_of(store, keys)
    if len(found) != 1:
        names = [row.name for row in rows]
        several = len(found) > 1 or len(keys) > 1
        raise DataError(
            f"{text!r} names {'several runs' if several else 'no run'} of tasks in {store.root}: "
            "give a run's key, a row that was measured (lm_eval:ROW or opencompass:ROW where both "
            "ran it), or paper:LLaMA2 7B/base=10000."
            + ("" if several else did_you_mean(text, names))
        )
    return Side(name=text, scores=_scores(found[0], columns, protocol))


def compare(run: Side, baseline: Side) -> Comparison:
    """Return the differences of the columns that both sides have.

    Raises:
        DataError: where they have none in common.
    """
    blanks = {column: _why_blank(run, baseline, column) for column in baseline.scores}
    common = [column for column, why in blanks.items() if not why]
    if not common:
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
        differences=tuple(
            _difference(column, run.scores[column], baseline.scores[column]) for column in common
        ),
        not_compared={column: why for column, why in blanks.items() if why},
    )


def _numbers(side: Side) -> list[str]:
    return [column for column, score in side.scores.items() if score.value is not None]


def _why_blank(run: Side, baseline: Side, column: str) -> str:
    """Say why there is no difference, or nothing where there is one."""
    if column not in run.scores:
        return _not_run(run)
    for side in (run, baseline):
        if side.scores[column].value is None:
            return f"{side.name}: {'; '.join(side.scores[column].notes)}"
    return ""


def _not_run(run: Side) -> str:
    return f"{run.name}: not run"


def _scores(row: Row, columns: Sequence[str], protocol: str) -> dict[str, Score]:
    scores = {column: row.score(column, protocol) for column in columns}
    scores |= {
        column: Score(value=part.value, parts=(part,), notes=tuple(items_of([part], None)))
        for column, part in row.others.items()
    }
    return {column: score for column, score in scores.items() if score.parts}


def _published(text: str, protocol: str) -> Side:
    name = text.removeprefix("paper:").strip()
    model, slash, label = name.partition("/")
    place = (model.removeprefix("LLaMA2").strip(), label if slash else model)
    scores: dict[str, Score] = {}
    places: list[tuple[str, str]] = []
    for table in map(paper.published, _TABLES):
        for row in table.rows:
            places.append((str(row[0]), str(row[1])))
            if places[-1] != place:
                continue
            for column, cell in zip(table.columns, row[2:], strict=True):
                if cell is not None:
                    scores[column] = _printed(column, float(str(cell)) / 100, protocol)
    if not scores:
        names = [f"paper:LLaMA2 {size}/{row}" for size, row in places]
        raise SpecError(
            f"Tables 3 to 5 have no row {text!r}.{did_you_mean(text, names)} Write it as "
            "paper:LLaMA2 7B/base=10000, with the row's name as in the tables"
        )
    return Side(name=text, scores=scores)


def _printed(column: str, value: float, protocol: str) -> Score:
    n = ITEMS[column] if len(TASKS["paper"][column]) == 1 else None  # parts are not printed
    parts = (Part(task="", value=value, n=n, n_all=n),) if n else ()
    notes = () if protocol == "paper" else ("protocol paper",)
    return Score(value=value, parts=parts, notes=notes)


def _difference(column: str, run: Score, baseline: Score) -> Difference:
    assert run.value is not None and baseline.value is not None, "a blank was let through"
    interval, method = _interval(run, baseline)
    return Difference(
        column=column,
        baseline=100 * baseline.value,
        score=100 * run.value,
        interval=interval and (100 * interval[0], 100 * interval[1]),
        method=method,
        notes=tuple(unlike(run.conditions, baseline.conditions))
        + _other_items(run, baseline)
        + tuple(f"run: {note}" for note in run.notes)
        + tuple(f"baseline: {note}" for note in baseline.notes),
    )


def _other_items(run: Score, baseline: Score) -> tuple[str, ...]:
    counts = [sum(part.n or 0 for part in score.parts) for score in (run, baseline)]
    if counts[0] == counts[1] or not all(counts):
        return ()
    return (f"{counts[0]} items against {counts[1]}",)


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
