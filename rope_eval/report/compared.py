"""Comparisons as a table, and as facts for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rope_eval.report.compare import Comparison, Difference
from rope_eval.report.formats import Cell, Interval, Place, Table
from rope_eval.report.notes import Notes

_UNITS = {"points": "points", "nats": "nats a token"}
_LABELS = ("run", "column", "unit")
_COLUMNS = ("baseline", "score", "difference", "*")
_DIFFERENCE = len(_LABELS) + _COLUMNS.index("difference")


def compared_table(comparisons: Sequence[Comparison], protocol: str) -> Table:
    """Return comparisons with one baseline as a table, a column of each run in a row.

    Its caption says how intervals were worked out, what was not alike, and what is not compared.
    """
    notes = Notes()
    rows: list[tuple[Cell, ...]] = []
    intervals: dict[Place, Interval] = {}
    for one in comparisons:
        for difference in one.differences:
            digits = 2 if difference.unit == "points" else 4
            if difference.interval is not None:
                low, high = (_decimal(end, digits) for end in difference.interval)
                intervals[len(rows), _DIFFERENCE] = (low, high)
            unit = _UNITS[difference.unit]
            rows.append((one.run, difference.column, unit, *_cells(difference, digits)))
        for note, columns in _notes(one).items():
            for column in columns:
                notes.add(note, one.run, column)
    baselines = ", ".join(dict.fromkeys(one.baseline for one in comparisons))
    title = (
        f"Against {baselines}, protocol {protocol}: fractions in percent and their differences in "
        "points, of perplexity and nll in nats a token, with 95 % intervals, and * where they "
        "leave out zero"
    )
    return Table(
        name="compare",
        caption=notes.caption(title),
        labels=_LABELS,
        columns=_COLUMNS,
        rows=tuple(rows),
        group_by=("run", "unit"),
        intervals=intervals,
    )


def facts_of(comparison: Comparison) -> dict[str, Any]:
    """Return all of a comparison as plain JSON values; None stands for what is not finite."""
    return {
        "run": comparison.run,
        "baseline": comparison.baseline,
        "columns": [
            {
                "column": d.column,
                "unit": d.unit,
                "baseline": _finite(d.baseline),
                "run": _finite(d.score),
                "difference": d.difference,
                "interval": None if d.interval is None else list(d.interval),
                "beyond_noise": d.beyond_noise,
                "method": d.method,
                "notes": list(d.notes),
            }
            for d in comparison.differences
        ],
        "not_compared": dict(comparison.not_compared),
    }


def _notes(comparison: Comparison) -> dict[str, list[str]]:
    """Return how intervals were worked out, and all that is not alike, by what is said of it.

    A task is named instead of its columns where the same is said of them all.
    """
    said = {d.column: [d.method, *d.notes] for d in comparison.differences}
    said |= {column: [f"not compared ({why})"] for column, why in comparison.not_compared.items()}
    of_task: dict[str, list[list[str]]] = {}
    for column, notes in said.items():
        of_task.setdefault(_task(column), []).append(notes)
    found: dict[str, dict[str, None]] = {}
    for column, notes in said.items():
        alike = all(others == notes for others in of_task[_task(column)])
        for note in notes:
            found.setdefault(note, {})[_task(column) if alike else column] = None
    return {note: list(names) for note, names in found.items()}


def _task(column: str) -> str:
    return column.rpartition(" ")[0] or column


def _cells(difference: Difference, digits: int) -> tuple[Cell, ...]:
    scores = (
        _decimal(score, 2) if math.isfinite(score) else None
        for score in (difference.baseline, difference.score)
    )
    mark = "*" if difference.beyond_noise else None
    return (*scores, _decimal(difference.difference, digits), mark)


def _decimal(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
