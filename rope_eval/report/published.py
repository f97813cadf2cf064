"""The published tables of arXiv 2310.05209: results/paper/ as tables of cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from rope_eval.errors import DataError, SpecError
from rope_eval.lengths import parse_length
from rope_eval.paths import asset
from rope_eval.protocols.columns import ITEMS, TASKS
from rope_eval.report.choice import EVERYTHING, Choice, check_lengths_there, picked
from rope_eval.report.formats import Best, Cell, Table
from rope_eval.results.stats import wilson

SOURCE = "arXiv 2310.05209"
PREFIX = "paper:"
"""What the name of a row of the paper begins with, where it stands beside others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    caption: str
    labels: tuple[str, ...] = ("size", "model")
    best: Best | None = "highest"
    source: str = "Table {name} of " + SOURCE


_BY_LENGTH = "Perplexity on Books3 by context length, tuned on 16K"
_PUBLISHED = {
    "1": _Published(caption=_BY_LENGTH, best="lowest"),
    "1-repository": _Published(
        caption=_BY_LENGTH,
        best="lowest",
        source=(
            "As the authors' repository has it (README of github.com/OpenLMLab/scaling-rope at "
            "eee27a0), where 4 of 12 numbers are not those of Table 1 of " + SOURCE
        ),
    ),
    "2": _Published(caption="RoPE-based extrapolation strategies", labels=("Name",), best=None),
    "3": _Published(caption="Short context, scores in percent, first part"),
    "4": _Published(caption="Short context, scores in percent, second part"),
    "5": _Published(caption="Long context (L-Eval), scores in percent"),
}
_JOINED = "3+4"
NAMES = tuple(sorted([*_PUBLISHED, _JOINED]))


def published(name: str) -> Table:
    """Return a table as it was published, rows and columns in the paper's order.

    Args:
        name: ``1`` to ``5``; ``3+4``, the two parts of one table, joined row by row; or
            ``1-repository``, Table 1 as the authors' repository has it.

    Raises:
        SpecError: the paper has no such table.
        DataError: its file cannot be read, or is not a table.
    """
    if name == _JOINED:
        return _join(_read("3"), _read("4"))
    if name not in _PUBLISHED:
        raise SpecError(f"the paper has no table {name!r}: choose one of {', '.join(NAMES)}")
    return _read(name)


def chosen_table(name: str, choice: Choice = EVERYTHING) -> Table:
    """Return a table of the paper, as far as it was chosen.

    Raises:
        SpecError: for a table that does not exist, or a choice that it does not have.
        DataError: its file cannot be read.
    """
    table = published(name)
    columns = chosen_columns(table, name, choice)
    names = [names_of(row, len(table.labels)) for row in table.rows]
    rows = [table.rows[i] for i in picked(choice.rows, names, "row")]
    places = [*range(len(table.labels)), *map(table.header.index, columns)]
    return replace(
        table, columns=columns, rows=tuple(tuple(row[place] for place in places) for row in rows)
    )


def chosen_columns(
    table: Table, name: str, choice: Choice, *, check: bool = True
) -> tuple[str, ...]:
    """Return the columns of a published table that were chosen, in that order.

    Args:
        table: the table.
        name: of the table.
        choice: what was chosen.
        check: whether lengths must be among its own.
    """
    if name not in ("1", "1-repository"):
        if choice.lengths:
            raise SpecError(f"table {name} has no lengths: choose its columns with --columns")
        chosen = picked(choice.columns, [(column,) for column in table.columns], "column")
        return tuple(table.columns[i] for i in chosen)
    if choice.columns:
        raise SpecError(f"the columns of table {name} are lengths: choose them with --lengths")
    if choice.lengths and check:
        check_lengths_there(choice.lengths, map(parse_length, table.columns))
    return tuple(
        column
        for column in table.columns
        if not choice.lengths or parse_length(column) in choice.lengths
    )


def names_of(row: tuple[Cell, ...], labels: int) -> tuple[str, ...]:
    """Return what a row of the paper may be called: its label, and with size and source before."""
    if labels == 1:
        return (str(row[0]),)
    return (str(row[1]), f"{row[0]}/{row[1]}", row_name(row))


def lines() -> Iterator[dict[str, Any]]:
    """Yield the numbers of Tables 1 and 3 to 5 as lines of `rope_eval.results.frame`.

    A row is called ``paper:LLaMA2 7B/base=500``, a task as its column, or as the books. Scores are
    fractions; where a column's items are known (`ITEMS`), they have Wilson's interval.
    """
    for name in ("1", "3", "4", "5"):
        table = _read(name)
        for row in table.rows:
            common = {"row": row_name(row), "model": f"LLaMA2 {row[0]}", "setting": row[1]}
            common |= {"kind": "paper", "host": "paper", "protocol": "paper"}
            for column, cell in zip(table.columns, row[2:], strict=True):
                if isinstance(cell, Decimal):
                    yield common | (_of_books if name == "1" else _of_items)(column, cell)


def row_name(row: tuple[Cell, ...]) -> str:
    """Return what a row of a published table is called beside others."""
    return f"{PREFIX}LLaMA2 {row[0]}/{row[1]}"


def _items_of(column: str) -> int | None:
    """Return how many items a column of Tables 3 to 5 is a mean of; its parts are not printed."""
    return ITEMS[column] if len(TASKS["paper"][column]) == 1 else None


def _of_books(column: str, cell: Decimal) -> dict[str, Any]:
    return {
        "measurement": "perplexity",
        "task": "Books3",
        "metric": "perplexity",
        "better": "lower",
        "length": parse_length(column),
        "value": float(cell),
    }


def _of_items(column: str, cell: Decimal) -> dict[str, Any]:
    value, n = float(cell) / 100, _items_of(column)
    low, high = wilson(value, n) if n else (None, None)
    return {
        "measurement": "task",
        "task": column,
        "metric": "acc",
        "better": "higher",
        "value": value,
        "low": low,
        "high": high,
        "n": n,
        "n_all": n,
    }


def _read(name: str) -> Table:
    kind = _PUBLISHED[name]
    path = asset("results") / "paper" / f"table{name}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; it comes with the package: install it again"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not CSV in UTF-8: {error}") from error
    header = tuple(lines[0]) if lines else ()
    count = len(kind.labels)
    if header[:count] != kind.labels or len(set(header)) != len(header):
        raise DataError(
            f"{path} must begin with {', '.join(kind.labels)} and name no column twice, "
            f"got {', '.join(header) or 'nothing'}"
        )
    rows: list[tuple[Cell, ...]] = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise DataError(
                f"{path}, row {number}: {len(header)} cells are due, got {len(line)}: {line}"
            )
        read = _text if kind.best is None else _number
        try:
            rows.append((*line[:count], *(read(cell) for cell in line[count:])))
        except ValueError as error:
            raise DataError(f"{path}, row {number}: {error}") from error
    return Table(
        name=name,
        caption=f"{kind.caption}. {kind.source.format(name=name)}.",
        labels=kind.labels,
        columns=header[count:],
        rows=tuple(rows),
        best=kind.best,
    )


def _text(cell: str) -> Cell:
    return cell or None


def _number(cell: str) -> Cell:
    if not cell:
        return None
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise ValueError(f"{cell!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{cell!r} is not a finite number")
    return value


def _join(first: Table, second: Table) -> Table:
    """Return the columns of both, in the rows of the first."""
    others = {second.key(row): row[len(second.labels) :] for row in second.rows}
    keys = [first.key(row) for row in first.rows]
    if len(second.rows) != len(keys) or others.keys() != set(keys):
        odd = sorted(map(str, others.keys() ^ set(keys)))
        raise DataError(
            f"tables {first.name} and {second.name} do not have the same rows: "
            + (f"only one of them has {'; '.join(odd)}" if odd else "a row is there twice")
        )
    return replace(
        first,
        name=_JOINED,
        caption=f"Short context, scores in percent. Tables 3 and 4 of {SOURCE}.",
        columns=first.columns + second.columns,
        rows=tuple(row + others[first.key(row)] for row in first.rows),
    )
