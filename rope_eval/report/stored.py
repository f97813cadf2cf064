"""A table of any measurement in the store: tasks that no table of the paper has a column for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.report import published as paper
from rope_eval.report.formats import Cell, Table
from rope_eval.report.measured import Notes, length_text
from rope_eval.report.runs import lines_of
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.frame import frame
from rope_eval.results.store import Store

NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "perplexity": ("*",),
        "retrieval": ("*retrieval*",),
        "ruler": ("ruler*", "niah_*"),
        "tasks": ("*",),
    }
)
"""The patterns of tasks that a name stands for."""
_WHOLE = "value"  # the column of what has no length


def stored_table(store: Store, name: str, metric: str | None = None) -> Table:
    """Return a table of what was measured, a row for each model, task and metric.

    Numbers are as recorded (a fraction, a perplexity), in a column for each length, or in one of
    their own where they have none. Of several runs the newest stands, and the caption says so.

    Args:
        store: the runs.
        name: of `NAMES`, or tasks or patterns of them (``arc_*``) with commas between them.
        metric: the only metric to show, such as ``acc``.

    Raises:
        SpecError: the store has no such task or metric.
    """
    patterns = NAMES.get(name) or tuple(part.strip() for part in name.split(","))
    metric = "perplexity" if name == "perplexity" else metric
    every = [line for line in lines_of(frame(store)) if line["task"] and line["metric"]]
    chosen = [
        line
        for line in every
        if any(fnmatchcase(line["task"], pattern) for pattern in patterns)
        and metric in (None, _short(line["metric"]))
    ]
    if not chosen:
        raise _nothing(name, metric, every)
    lengths = sorted({line["length"] for line in chosen if line["length"] is not None})
    columns = tuple(map(length_text, lengths))
    columns += (_WHOLE,) if any(line["length"] is None for line in chosen) else ()
    notes = Notes()
    rows: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for (key, column), found in _newest(chosen).items():
        label = ", ".join(key)
        cell, reasons = _cell(found[-1])
        if len({line["value"] for line in found}) > 1:
            reasons.append("the newest of runs that differ")
        rows.setdefault(key, {})[column] = cell
        for reason in reasons:
            notes.add(reason, label, column, of=cell)
    for key, cells in rows.items():
        for column in columns:
            if column not in cells:
                notes.add("not run", ", ".join(key), column)
    _say_unlike(chosen, notes)
    return Table(
        name=name,
        caption=notes.caption(f"Measured: {name}, numbers as recorded"),
        labels=("model", "task", "metric"),
        columns=columns,
        rows=tuple((*key, *map(cells.get, columns)) for key, cells in rows.items()),
        marks=frozenset(
            (index, 3 + columns.index(column))
            for index, key in enumerate(rows)
            for column in notes.marked.get(", ".join(key), ())
        ),
    )


def _newest(
    lines: Sequence[Mapping[str, Any]],
) -> dict[tuple[tuple[str, str, str], str], list[Mapping[str, Any]]]:
    """Return the runs of each cell, the newest last; a number stands above a later blank."""
    checkpoints: dict[str, set[tuple[str, str]]] = {}
    for line in lines:
        checkpoints.setdefault(line["row"], set()).add((line["weights"] or "", line["host"]))
    cells: dict[tuple[tuple[str, str, str], str], list[Mapping[str, Any]]] = {}
    for line in lines:
        several = len(checkpoints[line["row"]]) > 1
        model = line["row"] + (f" ({line['weights']}, {line['host']})" if several else "")
        column = _WHOLE if line["length"] is None else length_text(line["length"])
        found = cells.setdefault(((model, line["task"], _short(line["metric"])), column), [])
        if line["value"] is not None or not found:
            found.append(line)
    return cells


def _cell(line: Mapping[str, Any]) -> tuple[Cell, list[str]]:
    """Return a number, and what to know of it."""
    value, n, n_all = line["value"], line["n"], line["n_all"]
    reasons = [line["remark"]] if line["remark"] else []
    if value is None:
        return None, reasons or ["its score is not a number"]
    if not math.isfinite(value):
        return None, [*reasons, "past the largest number"]
    if n_all is not None and n != n_all:
        reasons.append(f"{n} of {n_all} items")
    if line["answer"] is not None:
        reasons.append(f"{line['answer']!r} throughout")
    digits = 2 if _short(line["metric"]) == "perplexity" else 4
    return Decimal(f"{value:.{digits}f}"), reasons


def _say_unlike(lines: Sequence[Mapping[str, Any]], notes: Notes) -> None:
    for task in dict.fromkeys(line["task"] for line in lines):
        of_task = [line for line in lines if line["task"] == task]
        for name in CONDITIONS:
            said = [(line["row"], line[name]) for line in of_task if line[name] is not None]
            if len({value for _, value in said}) > 1:
                for row, value in dict.fromkeys(said):
                    notes.add(f"not asked alike: {name} {value}", row, task)


def _short(metric: str) -> str:
    """Return a metric without its length, and without its filter where that is none.

    >>> _short("accuracy@4096,none"), _short("exact_match,strict-match"), _short("8192,none")
    ('accuracy', 'exact_match,strict-match', 'score')
    """
    name, _, kind = metric.partition(",")
    name = "score" if name.isdecimal() else name.partition("@")[0]
    return name if kind in ("", "none") else f"{name},{kind}"


def _nothing(name: str, metric: str | None, every: Sequence[Mapping[str, Any]]) -> SpecError:
    tasks = dict.fromkeys(line["task"] for line in every)
    of = f" with metric {metric!r}" if metric else ""
    if name in NAMES:
        return SpecError(
            f"the store has nothing for the table {name!r}{of}: measure or import it first"
            + (f"; there are {', '.join(tasks)}" if tasks else "")
        )
    return SpecError(
        f"there is no table {name!r}: choose one of {', '.join((*paper.NAMES, *NAMES))}, or a task "
        f"of the store{of}, which has {', '.join(tasks) or 'none'}." + did_you_mean(name, tasks)
    )
