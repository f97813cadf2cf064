"""What stands on the page: plain text and numbers, of which every writer makes its own form.

Nothing here is escaped and nothing is cut: a text is what was recorded, whoever wrote it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from rope_eval.safe_text import for_spreadsheet, shown

State = Literal["", "good", "warn", "bad"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is read; one line.
        number: what it sorts by, and its value in CSV with all digits; None for a text.
        more: what stands behind it in small, such as an interval.
        notes: what is to be known of it.
        state: how it is marked.
        whole: whether it stays on one line, such as a key.
    """

    text: str
    number: float | None = None
    more: str = ""
    notes: tuple[str, ...] = ()
    state: State = ""
    whole: bool = False


EMPTY = Cell(text="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table that sorts by any of its columns.

    Attributes:
        name: of the page, unique in it: of the CSV file too.
        title: what it shows.
        columns: headers.
        rows: cells, as many as columns.
        labels: how many columns, the first ones, name a row.
        caption: what to know of all of it, or empty.
        data: a frame's header and rows in the place of the cells, for CSV.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1
    caption: str = ""
    data: tuple[tuple[Any, ...], ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), "a row is not of full width"

    def is_numeric(self, position: int) -> bool:
        """Return whether a column has numbers: such columns are set right."""
        return any(row[position].number is not None for row in self.rows)

    def csv(self) -> str:
        """Return its data as CSV that no spreadsheet takes a formula from."""
        return csv_text(self.data or tuple(self._plain()))

    def _plain(self) -> Iterator[tuple[Any, ...]]:
        yield self.columns
        for row in self.rows:
            yield tuple(cell.text if cell.number is None else cell.number for cell in row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A picture of a figure.

    Attributes:
        title: what it is of.
        traces: as plotly takes them, of plain lists; their texts are escaped for plotly, which
            reads some HTML. ``meta.legend`` is the plain name of one that can be hidden, with all
            of its legendgroup.
        layout: as plotly takes it.
    """

    title: str
    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """An interactive figure, of which one panel is seen at a time.

    Attributes:
        name: of the page, unique in it: of the CSV file too.
        title: what it shows.
        caption: how to read it.
        panels: of it, one or more.
        data: its numbers: a header and rows, for CSV.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    data: tuple[tuple[Any, ...], ...]

    def csv(self) -> str:
        """Return its data as CSV that no spreadsheet takes a formula from."""
        return csv_text(self.data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What settings made of one beginning.

    Attributes:
        title: whose beginning it is.
        prompt: its end.
        texts: (who, what they wrote); the first is the reference.
    """

    title: str
    prompt: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A sentence of its own."""

    text: str
    state: State = ""


Part = Table | Figure | Sample | Note


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page under one heading."""

    name: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """The page.

    Attributes:
        title: of it.
        facts: (name, value) of what is read first.
        verdict: how it went, in a line.
        state: whether that is good.
        sections: in their order.
        downloads: more CSV, by file name.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    verdict: str
    state: State
    sections: tuple[Section, ...]
    downloads: dict[str, str] = field(default_factory=dict)

    def parts(self) -> Iterator[Part]:
        """Yield all parts."""
        for section in self.sections:
            yield from section.parts


def csv_text(rows: tuple[tuple[Any, ...], ...]) -> str:
    """Return rows as CSV: texts on one line, without formulas; numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            for_spreadsheet(shown(cell)) if isinstance(cell, str) else cell for cell in row
        )
    return text.getvalue()
