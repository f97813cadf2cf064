"""The published tables of arXiv 2310.05209: results/paper/ as tables of cells."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal

from rope_eval.errors import DataError, SpecError
from rope_eval.paths import asset
from rope_eval.report.formats import Cell, Table

SOURCE = "arXiv 2310.05209"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    caption: str
    labels: tuple[str, ...] = ("size", "model")
    best: Literal["highest", "lowest"] | None = "highest"


_PUBLISHED = {
    "1": _Published(caption="Perplexity on Books3 by context length, tuned on 16K", best="lowest"),
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
        name: ``1`` to ``5``, or ``3+4``: the two parts of one table, joined row by row.

    Raises:
        SpecError: the paper has no such table.
        DataError: its file cannot be read, or is not a table.
    """
    if name == _JOINED:
        return _join(_read("3"), _read("4"))
    if name not in _PUBLISHED:
        raise SpecError(f"the paper has no table {name!r}: choose one of {', '.join(NAMES)}")
    return _read(name)


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
        caption=f"{kind.caption}. Table {name} of {SOURCE}.",
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
