"""Tables of what was measured, alone or with the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.protocols.columns import PROTOCOLS
from rope_eval.report import published as paper
from rope_eval.report.formats import Cell, Table
from rope_eval.report.runs import Row
from rope_eval.results.frame import HARNESSES

_K, _M = 1024, 1024**2


class _Notes:
    """Why cells are blank, or not as their column says: rows and columns by the reason."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, list[str]]] = {}

    def add(self, reason: str, row: str, column: str) -> None:
        self._cells.setdefault(reason, {}).setdefault(row, []).append(column)

    def caption(self, title: str) -> str:
        lines = (
            f"{reason}: " + "; ".join(f"{row} ({', '.join(cells)})" for row, cells in rows.items())
            for reason, rows in self._cells.items()
        )
        return "\n".join(f"{line}." for line in (title, *lines))


def table_of(rows: Sequence[Row], name: str, protocol: str = "paper") -> Table:
    """Return a table of what was measured; its caption says what is blank, and why.

    Args:
        rows: of `rows_of`.
        name: ``1``, ``3``, ``4``, ``3+4`` or ``5``.
        protocol: ``paper``, ``lm_eval`` or ``leval``; Table 1 has none.

    Raises:
        SpecError: for a table or protocol that does not exist.
        DataError: where nothing of the table was measured.
    """
    published = _published(name, protocol)
    made = _measured(rows, name, protocol)
    return Table(
        name=name,
        caption=made.notes.caption(f"Measured: {made.title}"),
        labels=made.labels,
        columns=made.columns,
        rows=tuple((*line.labels, *line.cells.values()) for line in made.lines),
        best=published.best,
    )


def both(rows: Sequence[Row], name: str, protocol: str = "paper") -> Table:
    """Return a table of three lines a measured row: the paper's, the measured, the difference.

    A row that the paper does not have is one line. Arguments and errors as for `table_of`.
    """
    published = _published(name, protocol)
    made = _measured(rows, name, protocol)
    printed: dict[tuple[Cell, ...], dict[str, Cell]] = {
        row[:2]: dict(zip(published.columns, row[2:], strict=True)) for row in published.rows
    }
    lines: list[tuple[Cell, ...]] = []
    for line in made.lines:
        labels, source = line.labels[:2], ", ".join(("measured", *line.labels[2:]))
        theirs = printed.get(_place(line.row, name))
        if theirs is None:
            lines.append((*labels, source, *line.cells.values()))
            continue
        for column in made.columns:
            if theirs.get(column) is None:
                made.notes.add("not in the paper", line.row.name, column)
        difference = [_minus(cell, theirs.get(column)) for column, cell in line.cells.items()]
        lines.append((*labels, "paper", *(theirs.get(column) for column in made.columns)))
        lines.append((*labels, source, *line.cells.values()))
        lines.append((*labels, "difference", *difference))
    return Table(
        name=name,
        caption=made.notes.caption(f"Paper ({paper.SOURCE}) and measured: {made.title}"),
        labels=("size", "model", "source"),
        columns=made.columns,
        rows=tuple(lines),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    row: Row
    labels: tuple[str, ...]
    cells: dict[str, Cell]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    lines: list[_Line]
    notes: _Notes


def _published(name: str, protocol: str) -> Table:
    table = paper.published(name)
    if name == "2":
        raise SpecError("table 2 is text, of which no run measures anything: use --source paper")
    if protocol not in PROTOCOLS:
        raise SpecError(
            f"there is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}."
            + did_you_mean(protocol, PROTOCOLS)
        )
    return table


def _measured(rows: Sequence[Row], name: str, protocol: str) -> _Made:
    made = _curves(rows) if name == "1" else _scores(rows, name, protocol)
    if not made.lines:
        what = "`rope-eval ppl`" if name == "1" else f"protocol {protocol}"
        raise DataError(
            f"the store has no done run of {what} for table {name}"
            + ("" if name == "1" else ": run the tasks, and bring them in with `rope-eval import`")
        )
    return made


def _scores(rows: Sequence[Row], name: str, protocol: str) -> _Made:
    table = paper.published(name)
    lines: list[_Line] = []
    notes = _Notes()
    mixed = any(row.harness == "opencompass" for row in rows)
    for row in rows:
        scores = {column: row.score(column, protocol) for column in table.columns}
        if not any(score.parts for score in scores.values()):
            continue
        cells = {column: _percent(score.value) for column, score in scores.items()}
        size, label = _labels(row, name)
        host = f" [{HARNESSES[row.harness]}]" if mixed else ""
        lines.append(_Line(row=row, labels=(size, label + host), cells=cells))
        for column, score in scores.items():
            for note in score.notes:
                notes.add(note, row.name + host, column)
    return _Made(
        title=f"{table.caption.split('.')[0]}, protocol {protocol}",
        labels=table.labels,
        columns=table.columns,
        lines=lines,
        notes=notes,
    )


def _curves(rows: Sequence[Row]) -> _Made:
    found = [(row, books, curve) for row in rows for books, curve in row.curves.items()]
    lengths = sorted({length for _, _, curve in found for length in curve})
    notes = _Notes()
    lines: list[_Line] = []
    for row, books, curve in found:
        cells: dict[str, Cell] = {}
        for length in lengths:
            value = curve.get(length)
            finite = value is not None and math.isfinite(value)
            cells[_length(length)] = Decimal(f"{value:.2f}") if finite else None
            remark = row.remarks.get(books) if length in curve else "not run"
            if value is not None and not finite:
                remark = "past the largest number"
            if remark:
                notes.add(remark, row.name, _length(length))
        lines.append(_Line(row=row, labels=(*_labels(row, "1"), books), cells=cells))
    return _Made(
        title="Cumulative perplexity by context length",
        labels=("size", "model", "books"),
        columns=tuple(map(_length, lengths)),
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
    return None if value is None else Decimal(f"{100 * value:.2f}")


def _length(tokens: int) -> str:
    if tokens % _M == 0:
        return f"{tokens // _M}M"
    return f"{tokens // _K}K" if tokens % _K == 0 else str(tokens)


def _minus(measured: Cell, printed: Cell) -> Cell:
    both_there = isinstance(measured, Decimal) and isinstance(printed, Decimal)
    return measured - printed if both_there else None  # type: ignore[operator]
