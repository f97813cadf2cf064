"""The cells of a table of any measurement, by row and column, as they are found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from rope_eval.protocols.perplexity import CUMULATIVE
from rope_eval.report import published as paper
from rope_eval.report import ruler
from rope_eval.report.formats import Best, Cell, Interval, Table
from rope_eval.report.measured import length_text
from rope_eval.report.notes import Notes
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.metrics import part_of, plain

Line = Mapping[str, Any]

_EFFECTIVE = "effective"  # the column of RULER's effective length
_WHOLE = "value"  # the column of what has no length
_NO_INTERVAL = "no interval, of one document or of items that were not kept"
_BEST: Mapping[str, Best] = MappingProxyType({"higher": "highest", "lower": "lowest"})


class Grid:
    """Cells as they are found, by row and column.

    Args:
        lines: of `rope_eval.results.frame`: all that will have a place.
        rows: models, in their order where nothing has a length.
        name: what the table is called.
        published: whether the paper's numbers are among the lines.
        intervals: show 95 % intervals beside the numbers.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        rows: Sequence[str],
        *,
        name: str,
        published: bool,
        intervals: bool,
    ) -> None:
        self._name = name
        self._published = published
        self._with_intervals = intervals
        self._lines = lines
        self._by_length = any(_part(line) != _WHOLE for line in lines)
        self._metrics = {plain(line["metric"]) for line in lines}
        self._names = _names(lines)
        self._notes = Notes()
        self._intervals: dict[tuple[tuple[str, ...], str], Interval] = {}
        self._best: dict[str, Best] = {}
        self._effective = ""  # what the caption says of the column, where it is there
        by_row = lines if self._by_length else sorted(lines, key=lambda one: rows.index(one["row"]))
        self._cells: dict[tuple[str, ...], dict[str, Cell]] = {
            self._place(line)[0]: {} for line in by_row
        }

    def add(self, line: Line, *, several: bool) -> None:
        """Put a number where it belongs; `several` runs differ in it."""
        key, column = self._place(line)
        cell, reasons = _cell(line)
        if several:
            reasons.append("the newest of runs that differ")
        self._cells[key][column] = cell
        for reason in reasons:
            self._notes.add(reason, ", ".join(key), column, of=cell)
        if line["better"]:
            metric = plain(line["metric"])
            self._best[metric if self._by_length else column] = _BEST[line["better"]]
        if isinstance(cell, Decimal) and self._with_intervals:
            ends = (line["low"], line["high"])
            if None in ends or not all(map(math.isfinite, ends)):
                self._notes.add(_NO_INTERVAL, ", ".join(key), column)
            else:
                self._intervals[key, column] = (_decimal(line, ends[0]), _decimal(line, ends[1]))

    def add_effective(self, threshold: float) -> None:
        """Put RULER's effective lengths beside the means that they come from."""
        scores: dict[tuple[str, ...], dict[int, float]] = {}
        for line in self._lines:
            if line["task"] == ruler.MEAN:
                scores.setdefault(self._place(line)[0], {})[line["length"]] = 100 * line["value"]
        for key, some in scores.items():
            self._cells[key][_EFFECTIVE] = ruler.effective_text(some, threshold)
            self._effective = (
                f". {_EFFECTIVE}: the longest of these lengths whose {ruler.MEAN} exceeds "
                f"{threshold:g} % (arXiv 2404.06654, Table 3)"
            )

    def table(self) -> Table:
        """Return the table."""
        columns = self._columns() + ((_EFFECTIVE,) if self._effective else ())
        groups = list(dict.fromkeys(key[1:] for key in self._cells))
        keys = sorted(self._cells, key=lambda key: groups.index(key[1:]))
        self._say_blanks(keys, columns)
        _say_unlike(self._lines, self._notes)
        labels = ("model", "task", "metric") if self._by_length else ("model",)
        return Table(
            name=self._name,
            caption=self._notes.caption(self._title(columns)),
            labels=labels,
            columns=columns,
            rows=tuple((*key, *map(self._cells[key].get, columns)) for key in keys),
            best=self._best,
            group_by=labels[1:],
            marks=frozenset(
                (index, len(labels) + columns.index(column))
                for index, key in enumerate(keys)
                for column in self._notes.marked.get(", ".join(key), ())
            ),
            intervals={
                (keys.index(key), len(labels) + columns.index(column)): interval
                for (key, column), interval in self._intervals.items()
            },
        )

    def _place(self, line: Line) -> tuple[tuple[str, ...], str]:
        metric = plain(line["metric"])
        model = self._names[line["row"], line["weights"], line["host"]]
        if self._by_length:
            return (model, line["task"], metric), _part(line)
        several = len(self._metrics) > 1
        return (model,), f"{line['task']} {metric}" if several else line["task"]

    def _columns(self) -> tuple[str, ...]:
        if not self._by_length:
            return tuple(dict.fromkeys(self._place(line)[1] for line in self._lines))
        lengths = sorted({line["length"] for line in self._lines if line["length"] is not None})
        others = {_part(line) for line in self._lines if line["length"] is None}
        parts = sorted(others, key=lambda part: (part == _WHOLE, part))
        return (*map(length_text, lengths), *parts)

    def _say_blanks(self, keys: Sequence[tuple[str, ...]], columns: Sequence[str]) -> None:
        """Say what was not run, where another row of the same task and metric has it."""
        there: dict[tuple[str, ...], set[str]] = {}
        for key, cells in self._cells.items():
            there.setdefault(key[1:], set()).update(cells)
        for key in keys:
            for column in columns:
                if column in there[key[1:]] and column not in self._cells[key]:
                    self._notes.add("not run", ", ".join(key), column)

    def _title(self, columns: Sequence[str]) -> str:
        whose = f", and the paper's ({paper.SOURCE})" if self._published else ""
        title = f"Measured{whose}: {self._name}, numbers as recorded"
        if not self._by_length and len(self._metrics) == 1:
            title += f", metric {min(self._metrics)}"
        title += ", with 95 % intervals" if self._with_intervals else ""
        title += self._effective
        if any(line["protocol"] == CUMULATIVE.name for line in self._lines):
            title += ". Whole books: protocol cumulative, where a row names no other"
        there = {(key[1:], column) for key, cells in self._cells.items() for column in cells}
        own = [column for column in columns if column != _EFFECTIVE]
        of_none = any((key[1:], column) not in there for key in self._cells for column in own)
        return title + (". Blank where nothing was run of a task" if of_none else "")


def newest(lines: Sequence[Line]) -> list[tuple[Line, bool]]:
    """Return the newest line of each cell, and whether others differ; numbers before blanks."""
    cells: dict[tuple[str | None, ...], list[Line]] = {}
    for line in lines:
        key = (line["row"], line["weights"], line["host"], line["task"], line["metric"])
        found = cells.setdefault((*key, _part(line)), [])
        if line["value"] is not None or not found:
            found.append(line)
    return [(found[-1], len({line["value"] for line in found}) > 1) for found in cells.values()]


def _names(lines: Sequence[Line]) -> dict[tuple[str, str | None, str], str]:
    """Return what each model is called: with its weights and host, where a name has several."""
    weights: dict[str, set[str]] = {}
    hosts: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        weights.setdefault(line["row"], set()).add(line["weights"] or "")
        hosts.setdefault((line["row"], line["task"]), set()).add(line["host"])
    of_several = {row for (row, _), some in hosts.items() if len(some) > 1}
    names = {}
    for line in lines:
        row, which, host = line["row"], line["weights"], line["host"]
        more = [which or ""] if len(weights[row]) > 1 else []
        more += [host] if row in of_several else []
        names[row, which, host] = row + (f" ({', '.join(filter(None, more))})" if more else "")
    return names


def _part(line: Line) -> str:
    if line["length"] is not None:
        return length_text(line["length"])
    return part_of(line["metric"]) or _WHOLE


def _decimal(line: Line, value: float) -> Decimal:
    digits = 2 if plain(line["metric"]) == "perplexity" else 4
    return Decimal(f"{value:.{digits}f}")


def _cell(line: Line) -> tuple[Cell, list[str]]:
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
    return _decimal(line, value), reasons


def _say_unlike(lines: Sequence[Line], notes: Notes) -> None:
    for task in dict.fromkeys(line["task"] for line in lines):
        of_task = [line for line in lines if line["task"] == task]
        for name in CONDITIONS:
            said = [(line["row"], line[name]) for line in of_task if line[name] is not None]
            if len({value for _, value in said}) > 1:
                for row, value in dict.fromkeys(said):
                    notes.add(f"not asked alike: {name} {value}", row, task)
