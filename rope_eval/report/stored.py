"""A table of any measurement in the store: tasks that no table of the paper has a column for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.protocols.perplexity import CUMULATIVE
from rope_eval.report import published as paper
from rope_eval.report import ruler
from rope_eval.report.choice import EVERYTHING, Choice
from rope_eval.report.formats import Best, Cell, Interval, Table
from rope_eval.report.measured import length_text
from rope_eval.report.notes import Notes
from rope_eval.report.runs import lines_of
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.metrics import part_of, plain
from rope_eval.results.store import Store
from rope_eval.results.tidy import LENGTH_NOT_RUN, frame

if TYPE_CHECKING:
    import pandas as pd

    Line = Mapping[str, Any]

NAMES: Mapping[str, tuple[str | None, str | None]] = MappingProxyType(
    {
        "perplexity": (None, "perplexity"),
        "accuracy": ("perplexity", "accuracy"),
        "retrieval": ("retrieval", None),
        "ruler": ("ruler", None),
        "longbench": ("longbench", None),
        "babilong": ("babilong", None),
        "infinitebench": ("infinitebench", None),
        "graphwalks": ("graphwalks", None),
        "nolima": ("nolima", None),
        "helmet": ("helmet", None),
        "tasks": (None, None),
    }
)
"""The measurement and the metric that a name stands for; None for any."""

_RULER = "ruler"
_EFFECTIVE = "effective"  # the column of RULER's effective length
_WHOLE = "value"  # the column of what has no length
_NO_INTERVAL = "no interval, of one document or of items that were not kept"
_COUNTS = ("documents", "documents_too_short", "tokens")  # no scores
_BEST: Mapping[str, Best] = MappingProxyType({"higher": "highest", "lower": "lowest"})


def stored_table(
    store: Store,
    name: str,
    metric: str | None = None,
    *,
    choice: Choice = EVERYTHING,
    published: bool = False,
    intervals: bool = False,
    threshold: float | None = None,
) -> Table:
    """Return a table of what was measured, its numbers as recorded (a fraction, a perplexity).

    Where anything has a length, a row is a model, task and metric, and a column a length, a part
    of a task (of LongBench by length), or `value` for what has neither. Else a row is a model, and
    a column a task. Of several runs the newest stands, and the caption says so. RULER has the mean
    of its tasks too, where all have a score, and the effective length by it.

    Args:
        store: the runs.
        name: of `NAMES`, or tasks or patterns of them (``arc_*``) with commas between.
        metric: the only metric to show, such as ``acc``.
        choice: of rows, tasks or metrics, and lengths.
        published: take the paper's numbers too.
        intervals: show 95 % intervals beside the numbers.
        threshold: of RULER's effective length, in percent; by default the paper's.

    Raises:
        SpecError: the store has no such task, metric, row or length; or the paper has none; or a
            threshold of another table than RULER's.
    """
    if threshold is not None and name != _RULER:
        raise SpecError(f"a threshold is of the table ruler, not of {name}: leave it out")
    threshold = ruler.check_threshold(ruler.THRESHOLD if threshold is None else threshold)
    wanted = _Wanted(
        name=name, metric=metric, choice=choice, published=published, intervals=intervals
    )
    measured = _selected(frame(store, intervals=wanted.intervals), wanted, store)
    if wanted.published:
        measured = _with_paper(measured, wanted)
    rows = list(Choice(rows=wanted.choice.rows).of(measured)["row"].unique())
    lines = [
        line
        for line in lines_of(wanted.choice.of(measured))
        if wanted.choice.columns or plain(line["metric"]) not in _COUNTS
    ]
    if name == _RULER:
        lines += ruler.means(line for line, _ in _newest(lines))
    grid = _Grid(wanted, lines, rows)
    for line, several in _newest(lines):
        grid.add(line, several=several)
    if name == _RULER:
        grid.add_effective(threshold)
    return grid.table()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    name: str
    metric: str | None
    choice: Choice
    published: bool
    intervals: bool


class _Grid:
    """Cells as they are found, by row and column."""

    def __init__(self, wanted: _Wanted, lines: Sequence[Line], rows: Sequence[str]) -> None:
        self._wanted = wanted
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
        if isinstance(cell, Decimal) and self._wanted.intervals:
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
            name=self._wanted.name,
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
        whose = f", and the paper's ({paper.SOURCE})" if self._wanted.published else ""
        title = f"Measured{whose}: {self._wanted.name}, numbers as recorded"
        if not self._by_length and len(self._metrics) == 1:
            title += f", metric {min(self._metrics)}"
        title += ", with 95 % intervals" if self._wanted.intervals else ""
        title += self._effective
        if any(line["protocol"] == CUMULATIVE.name for line in self._lines):
            title += ". Whole books: protocol cumulative, where a row names no other"
        there = {(key[1:], column) for key, cells in self._cells.items() for column in cells}
        own = [column for column in columns if column != _EFFECTIVE]
        of_none = any((key[1:], column) not in there for key in self._cells for column in own)
        return title + (". Blank where nothing was run of a task" if of_none else "")


def _selected(measured: pd.DataFrame, wanted: _Wanted, store: Store) -> pd.DataFrame:
    """Return the lines of the tasks and the metric that a table is of."""
    measured = measured[measured["task"].notna() & measured["metric"].notna()]
    measured = measured[measured["remark"].fillna("") != LENGTH_NOT_RUN]
    chosen = measured[_of_name(measured, wanted)]
    if chosen.empty:
        raise _nothing(wanted, list(measured["task"].unique()), store)
    return chosen


def _of_name(measured: pd.DataFrame, wanted: _Wanted) -> list[bool]:
    measurement, metric = NAMES.get(wanted.name, (None, None))
    patterns = [part.strip() for part in wanted.name.split(",")]
    metrics = {metric, wanted.metric} - {None}
    columns = zip(measured["measurement"], measured["task"], measured["metric"], strict=True)
    return [
        measurement in (None, of)
        and (wanted.name in NAMES or any(fnmatchcase(task, pattern) for pattern in patterns))
        and metrics <= {plain(name)}
        for of, task, name in columns
    ]


def _with_paper(measured: pd.DataFrame, wanted: _Wanted) -> pd.DataFrame:
    import pandas as pd

    lines = pd.DataFrame(paper.lines(), columns=list(measured.columns)).astype(measured.dtypes)
    lines = lines[_of_name(lines, wanted)]
    if lines.empty:
        tasks = ", ".join(dict.fromkeys(line["task"] for line in paper.lines()))
        raise SpecError(f"the paper has no numbers of {wanted.name}, only of {tasks}")
    return pd.concat([measured, lines], ignore_index=True)


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


def _newest(lines: Sequence[Line]) -> list[tuple[Line, bool]]:
    """Return the newest line of each cell, and whether others differ; numbers before blanks."""
    cells: dict[tuple[str | None, ...], list[Line]] = {}
    for line in lines:
        key = (line["row"], line["weights"], line["host"], line["task"], line["metric"])
        found = cells.setdefault((*key, _part(line)), [])
        if line["value"] is not None or not found:
            found.append(line)
    return [(found[-1], len({line["value"] for line in found}) > 1) for found in cells.values()]


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


def _nothing(wanted: _Wanted, tasks: Sequence[str], store: Store) -> SpecError:
    name = wanted.name
    of = f" with metric {wanted.metric!r}" if wanted.metric else ""
    if name in NAMES:
        return SpecError(
            f"{store.root} has nothing for the table {name!r}{of}: measure or import it first"
            + (f"; there are {', '.join(tasks)}" if tasks else "")
        )
    return SpecError(
        f"there is no table {name!r}: choose one of {', '.join((*paper.NAMES, *NAMES))}, or a task "
        f"of {store.root}{of}, which has {', '.join(tasks) or 'none'}."
        + did_you_mean(name, [*tasks, *NAMES])
    )
