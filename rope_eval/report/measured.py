"""Tables of what was measured, alone or with the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.lengths import parse_length
from rope_eval.protocols.columns import PROTOCOLS
from rope_eval.report import published as paper
from rope_eval.report.choice import EVERYTHING, Choice, check_lengths_there, picked
from rope_eval.report.formats import Cell, Interval, Place, Table
from rope_eval.report.notes import Notes
from rope_eval.report.runs import Row
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.tidy import HARNESSES

_K, _M = 1024, 1024**2


def table_of(
    rows: Sequence[Row],
    name: str,
    protocol: str = "paper",
    choice: Choice = EVERYTHING,
    *,
    intervals: bool = False,
) -> Table:
    """Return a table of what was measured; its caption says what is blank, and why.

    Args:
        rows: of `rows_of`.
        name: ``1``, ``3``, ``4``, ``3+4`` or ``5``.
        protocol: ``paper``, ``lm_eval`` or ``leval``; Table 1 has none.
        choice: of rows, by their own names or the paper's, and of columns or lengths.
        intervals: show 95 % intervals beside the numbers; Table 1 has none.

    Raises:
        SpecError: for a table or protocol that does not exist, or a choice that is not there.
        DataError: where nothing of the table was measured.
    """
    published = _published(name, protocol)
    chosen = picked(choice.rows, [_own_names(row, name) for row in rows], "row")
    if name == "1":
        check_lengths_there(choice.lengths, _lengths(rows))
    made = _measured([rows[i] for i in chosen], name, protocol, choice)
    return Table(
        name=name,
        caption=made.notes.caption(f"Measured: {made.title}"),
        labels=made.labels,
        columns=made.columns,
        rows=tuple((*line.labels, *line.cells.values()) for line in made.lines),
        best=published.best,
        group_by=("size", "books") if name == "1" else ("size",),
        marks=_marks(made.columns, enumerate(made.lines), labels=len(made.labels)),
        intervals=_intervals(made.columns, enumerate(made.lines), labels=2) if intervals else {},
    )


def both(
    rows: Sequence[Row],
    name: str,
    protocol: str = "paper",
    choice: Choice = EVERYTHING,
    *,
    intervals: bool = False,
) -> Table:
    """Return the paper's table with what was measured among its rows.

    Below a row of the paper are two lines for each measured row that is the same: its scores, under
    its own name, and the difference of the numbers as printed. Rows that the paper does not have
    are at the end. A row of the paper and those below it are chosen together. Arguments and errors
    as for `table_of`.
    """
    published = _published(name, protocol)
    printed = {
        row[:2]: dict(zip(published.columns, row[2:], strict=True)) for row in published.rows
    }
    own: dict[tuple[Cell, ...], list[Row]] = {place: [] for place in printed}
    for row in rows:
        own.setdefault(_place(row, name), []).append(row)
    names: list[tuple[str, ...]] = []
    for place, some in own.items():
        called = [one for row in some for one in _own_names(row, name)]
        names.append((*(paper.names_of(place, 2) if place in printed else ()), *called))
    places = list(own)
    chosen = [places[i] for i in picked(choice.rows, names, "row")]
    if name == "1":
        there = _lengths(rows) | set(map(parse_length, published.columns))
        check_lengths_there(choice.lengths, there)
    made = _measured([row for place in chosen for row in own[place]], name, protocol, choice)
    columns = _united(made.columns, paper.chosen_columns(published, name, choice, check=False))
    at: dict[tuple[Cell, ...], list[_Line]] = {}
    for line in made.lines:
        at.setdefault(_place(line.row, name), []).append(line)
    lines: list[tuple[Cell, ...]] = []
    marked: list[tuple[int, _Line]] = []

    def add(place: tuple[Cell, ...], source: str, cells: Mapping[str, Cell]) -> None:
        lines.append((*place, source, *(cells.get(column) for column in columns)))

    for place in chosen:
        if place in printed:
            add(place, "paper", printed[place])
        for line in at.get(place, []):
            marked.append((len(lines), line))
            add(place, line.own_name, line.cells)
            if place in printed:
                add(place, "difference", _differences(line, printed[place], made.notes))
            else:
                made.notes.add("not in the paper", line.row.name, "row")
    title = f"Paper ({paper.SOURCE}) and measured: {made.title}"
    if protocol != "paper" and name != "1":
        title += f". The paper's are of protocol paper: other prompts than those of {protocol}"
    return Table(
        name=name,
        caption=made.notes.caption(title),
        labels=("size", "model", "source"),
        columns=columns,
        rows=tuple(lines),
        marks=_marks(columns, marked, labels=3),
        intervals=_intervals(columns, marked, labels=3) if intervals else {},
    )


def _own_names(row: Row, table: str) -> tuple[str, ...]:
    """Return what a measured row may be called: its name, or as the paper calls it."""
    size, label = _place(row, table)
    return (row.name, label, f"{size}/{label}") if size else (row.name,)


def _united(columns: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of both: those of one table as they stand, lengths in their order."""
    if columns == others:
        return columns
    return tuple(sorted({*columns, *others}, key=parse_length))


def _differences(line: _Line, printed: Mapping[str, Cell], notes: Notes) -> dict[str, Cell]:
    for column, cell in line.cells.items():
        if cell is not None and printed.get(column) is None:
            notes.add("not in the paper", line.row.name, column)
    return {column: _minus(cell, printed.get(column)) for column, cell in line.cells.items()}


def _marks(
    columns: tuple[str, ...], lines: Iterable[tuple[int, _Line]], labels: int
) -> frozenset[tuple[int, int]]:
    return frozenset(
        (index, labels + columns.index(column)) for index, line in lines for column in line.marked
    )


def _intervals(
    columns: tuple[str, ...], lines: Iterable[tuple[int, _Line]], labels: int
) -> dict[Place, Interval]:
    return {
        (index, labels + columns.index(column)): ends
        for index, line in lines
        for column, ends in line.intervals.items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    row: Row
    labels: tuple[str, ...]
    cells: dict[str, Cell]
    marked: frozenset[str]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    host: str = ""

    @property
    def own_name(self) -> str:
        """Return what it is called beside the paper's rows."""
        weights = f" ({self.row.weights})" if self.row.weights else ""
        return ", ".join((self.row.name + weights + self.host, *self.labels[2:]))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    lines: list[_Line]
    notes: Notes


def _published(name: str, protocol: str) -> Table:
    table = paper.published(name)
    if name == "2":
        raise SpecError("table 2 is text, of which no run measures anything: use --source paper")
    if name == "1-repository":
        raise SpecError(
            "what is measured is beside the numbers of table 1: use it, or --source paper"
        )
    if protocol not in PROTOCOLS:
        raise SpecError(
            f"there is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}."
            + did_you_mean(protocol, PROTOCOLS)
        )
    return table


def _measured(rows: Sequence[Row], name: str, protocol: str, choice: Choice) -> _Made:
    columns = paper.chosen_columns(paper.published(name), name, choice, check=False)
    made = _curves(rows, choice.lengths) if name == "1" else _scores(rows, name, protocol, columns)
    if not made.lines:
        what = "`rope-eval ppl`" if name == "1" else f"protocol {protocol}"
        raise DataError(
            f"the store has no done run of {what} for table {name}"
            + ("" if name == "1" else ": run the tasks, and bring them in with `rope-eval import`")
        )
    return made


def _lengths(rows: Iterable[Row]) -> set[int]:
    return {length for row in rows for curve in row.curves.values() for length in curve}


def _scores(rows: Sequence[Row], name: str, protocol: str, columns: tuple[str, ...]) -> _Made:
    table = paper.published(name)
    lines: list[_Line] = []
    notes = Notes()
    asked: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    mixed = any(row.harness == "opencompass" for row in rows)
    for row in rows:
        scores = {column: row.score(column, protocol) for column in columns}
        if not any(score.parts for score in scores.values()):
            continue
        cells = {column: _percent(score.value) for column, score in scores.items()}
        size, label = _labels(row, name)
        host = f" [{HARNESSES[row.harness]}]" if mixed else ""
        marked = frozenset(c for c, score in scores.items() if score.notes and cells[c] is not None)
        labels = (size, label + host)
        ends = {
            column: (_hundred_times(score.interval[0]), _hundred_times(score.interval[1]))
            for column, score in scores.items()
            if score.interval is not None
        }
        lines.append(
            _Line(row=row, labels=labels, cells=cells, marked=marked, intervals=ends, host=host)
        )
        for column, score in scores.items():
            for note in score.notes:
                notes.add(note, row.name + host, column, of=cells[column])
            asked.setdefault(column, []).append((row.name + host, score.conditions))
    for column, found in asked.items():
        for condition in CONDITIONS:
            values = [(row, said[condition]) for row, said in found if condition in said]
            if len({value for _, value in values}) > 1:
                for row_name, value in values:
                    notes.add(f"not asked alike: {condition} {value}", row_name, column)
    return _Made(
        title=f"{table.caption.split('.')[0]}, protocol {protocol}",
        labels=table.labels,
        columns=columns,
        lines=lines,
        notes=notes,
    )


def _curves(rows: Sequence[Row], chosen: Sequence[int]) -> _Made:
    found = [(row, books, curve) for row in rows for books, curve in row.curves.items()]
    there = {length for _, _, curve in found for length in curve}
    lengths = sorted(there & set(chosen) if chosen else there)
    found = [one for one in found if not one[2].keys().isdisjoint(lengths)]
    notes = Notes()
    lines: list[_Line] = []
    for row, books, curve in found:
        cells: dict[str, Cell] = {}
        marked: set[str] = set()
        for length in lengths:
            value = curve.get(length)
            finite = value is not None and math.isfinite(value)
            cells[length_text(length)] = cell = Decimal(f"{value:.2f}") if finite else None
            remark = row.remarks.get(books) if length in curve else "not run"
            if value is not None and not finite:
                remark = "past the largest number"
            if remark:
                notes.add(remark, row.name, length_text(length), of=cell)
                marked |= set() if cell is None else {length_text(length)}
        labels = (*_labels(row, "1"), books)
        lines.append(_Line(row=row, labels=labels, cells=cells, marked=frozenset(marked)))
    together = list(dict.fromkeys((line.labels[0], line.labels[2]) for line in lines))
    lines.sort(key=lambda line: together.index((line.labels[0], line.labels[2])))
    return _Made(
        title="Cumulative perplexity by context length",
        labels=("size", "model", "books"),
        columns=tuple(map(length_text, lengths)),
        lines=lines,
        notes=notes,
    )


def _place(row: Row, name: str) -> tuple[str, str]:
    """Return the labels of a row in a table: the paper's where the paper has it there."""
    return row.paper.get(name.split("+", maxsplit=1)[0], ("", row.name))


def _labels(row: Row, name: str) -> tuple[str, str]:
    size, label = _place(row, name)
    return size, f"{label} ({row.weights})" if row.weights else label


def _percent(value: float | None) -> Cell:
    return None if value is None else _hundred_times(value)


def _hundred_times(value: float) -> Decimal:
    return Decimal(f"{100 * value:.2f}")


def length_text(tokens: int) -> str:
    """Return a length as a column is called.

    >>> length_text(4096), length_text(100)
    ('4K', '100')
    """
    if tokens % _M == 0:
        return f"{tokens // _M}M"
    return f"{tokens // _K}K" if tokens % _K == 0 else str(tokens)


def _minus(measured: Cell, printed: Cell) -> Cell:
    both_there = isinstance(measured, Decimal) and isinstance(printed, Decimal)
    return measured - printed if both_there else None  # type: ignore[operator]
