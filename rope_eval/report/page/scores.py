"""Tables of what was measured: a row for each model and setting, lengths or tasks beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rope_eval.protocols.chance import chance_of
from rope_eval.report.measured import length_text
from rope_eval.report.page.findings import Findings
from rope_eval.report.page.model import EMPTY, Cell, Note, Part, Table
from rope_eval.report.series.source import labelled
from rope_eval.report.tables import number
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.metrics import plain
from rope_eval.results.tidy import COLUMNS

Line = Mapping[str, Any]
_CAPTION = "Behind a number its 95 % interval. A marked cell has its reason in a note."

_NEWEST = "the newest of runs that differ"


def score_tables(found: Findings) -> list[Part]:
    """Return a table for each task and metric that has lengths, and one of all others."""
    lines = labelled([dict(line) for line in found.lines if line["task"] and line["metric"]])
    if not lines:
        return [Note(text="No run has a number.", state="warn")]
    bounds = {run.key: run.results.get("extrapolation_bound") for run in found.runs}
    groups: dict[tuple[str, str], list[Line]] = {}
    others: list[Line] = []
    for line in lines:
        key = (line["task"], plain(line["metric"]))
        if line["length"] is None:
            others.append(line)
        else:
            groups.setdefault(key, []).append(line)
    tables: list[Part] = [
        _by_length(f"scores-{place}", task, metric, of_task, bounds)
        for place, ((task, metric), of_task) in enumerate(groups.items(), start=1)
    ]
    return [*tables, *([_by_task(others)] if others else [])]


def _by_length(
    name: str,
    task: str,
    metric: str,
    lines: Sequence[Line],
    bounds: Mapping[str, float | None],
) -> Table:
    lengths = sorted({line["length"] for line in lines})
    bound = {line["label"]: bounds.get(line["key"]) for line in lines}
    has_bound = any(value is not None for value in bound.values())
    return _table(
        name,
        f"{metric} of {task}, by length in tokens",
        lines,
        {length: length_text(length) for length in lengths},
        lambda line: line["length"],
        extra={"bound": {row: _bound(value) for row, value in bound.items()}} if has_bound else {},
    )


def _by_task(lines: Sequence[Line]) -> Table:
    columns = {
        (line["task"], line["metric"]): f"{line['task']} {plain(line['metric'])}" for line in lines
    }
    return _table(
        "scores-tasks",
        "Scores of tasks",
        lines,
        columns,
        lambda line: (line["task"], line["metric"]),
    )


def _table(
    name: str,
    title: str,
    lines: Sequence[Line],
    columns: Mapping[Any, str],
    column_of: Any,
    extra: Mapping[str, Mapping[str, Cell]] | None = None,
) -> Table:
    """Return a table of the newest of what each row has in a column; a number beats a blank."""
    extra = extra or {}
    rows: dict[str, dict[Any, Line]] = {}
    for line in lines:
        cells, column = rows.setdefault(line["label"], {}), column_of(line)
        older = cells.get(column)
        if older is not None and line["value"] is None:
            continue
        if older is not None and older["value"] not in (None, line["value"]):
            remarks = (line["remark"], _NEWEST)
            line = {**line, "remark": "; ".join(filter(None, remarks))}  # noqa: PLW2901
        cells[column] = line
    unlike = _unlike(lines)
    return Table(
        name=name,
        title=title,
        columns=("model and setting", *extra, *columns.values()),
        rows=tuple(
            (
                Cell(text=row),
                *(cells.get(row, EMPTY) for cells in extra.values()),
                *(score_cell(of[column]) if column in of else EMPTY for column in columns),
            )
            for row, of in rows.items()
        ),
        caption=" ".join([_CAPTION, *unlike]),
        data=(tuple(COLUMNS), *(tuple(line[name] for name in COLUMNS) for line in lines)),
    )


def score_cell(line: Line) -> Cell:
    """Return a number, its interval, and what to know of it."""
    value, n, n_all = line["value"], line["n"], line["n_all"]
    notes = [line["remark"]] if line["remark"] else []
    if value is None:
        return Cell(text="–", notes=tuple(notes or ["its score is not a number"]), state="bad")
    if not math.isfinite(value):
        return Cell(
            text=str(value),
            number=value,
            notes=(*notes, "past the largest number"),
            state="bad",
        )
    degenerate = []
    if line["answer"] is not None:
        degenerate.append(f"{line['answer']!r} was answered throughout")
    interval = None if line["low"] is None else (line["low"], line["high"])
    chance = chance_of(line["task"], line["metric"])
    if chance is not None and interval is not None and interval[0] <= chance <= interval[1]:
        degenerate.append(f"not to be told from chance, {chance:.4f}")
    if n_all is not None and n != n_all:
        notes.append(f"{n} of {n_all} items")
    write = number if plain(line["metric"]) == "perplexity" else "{:.4f}".format
    return Cell(
        text=write(value),
        number=value,
        more="" if interval is None else " … ".join(map(write, interval)),
        notes=(*degenerate, *notes),
        state="bad" if degenerate else "warn" if notes else "",
    )


def _bound(value: float | None) -> Cell:
    return EMPTY if value is None else Cell(text=f"{value:.0f}", number=value)


def _unlike(lines: Sequence[Line]) -> list[str]:
    """Say in what the runs of a table were not asked alike."""
    said = []
    for name in CONDITIONS:
        values = dict.fromkeys(line[name] for line in lines if line[name] is not None)
        if len(values) > 1:
            said.append(f"Not asked alike: {name} {', '.join(values)}.")
    return said
