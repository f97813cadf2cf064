"""A table of results, and the five ways to write it down."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from tabulate import tabulate

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.safe_text import for_spreadsheet, shown, shown_lines

Cell: TypeAlias = Decimal | str | None
"""A number with the decimals it is written with, a text, or a blank."""

Best: TypeAlias = Literal["highest", "lowest"]
Interval: TypeAlias = tuple[Decimal, Decimal]
Place: TypeAlias = tuple[int, int]
"""A row and a cell of it, from 0."""

MARK = "†"
"""What stands behind a number that the caption says something about."""

_LATEX = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"α": r"$\alpha$", "λ": r"$\lambda$", "Λ": r"$\Lambda$", "×": r"$\times$"}
    | {"✓": r"\ding{51}", "✗": r"\ding{55}", MARK: r"$^\dagger$"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows that a few labels name, and a column for everything that was measured.

    Attributes:
        name: what `rope-eval table` calls it, such as ``3+4``.
        caption: what it shows, and where that comes from.
        labels: headers of the cells that name a row.
        columns: headers of the other cells.
        rows: cells, those of the labels first.
        best: which end of a column is the better one, or None where no such question arises; or
            that by the labels or headers that name what is measured, where it is not one for all.
        group_by: labels whose rows compete where they agree in them: those of one model size.
        marks: the numbers of which the caption says what is not as in others.
        intervals: of numbers, their low and high end.
    """

    name: str
    caption: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    best: Best | Mapping[str, Best] | None = None
    group_by: tuple[str, ...] = ("size",)
    marks: frozenset[Place] = frozenset()
    intervals: Mapping[Place, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(set(self.header)) == len(self.header), "a header is there twice"
        assert all(len(row) == len(self.header) for row in self.rows), "a row is not of full width"

    @property
    def header(self) -> tuple[str, ...]:
        """All headers, those of the labels first."""
        return self.labels + self.columns

    def key(self, row: tuple[Cell, ...]) -> tuple[Cell, ...]:
        """Return the labels of a row, which name it."""
        return row[: len(self.labels)]

    def group(self, row: tuple[Cell, ...]) -> tuple[Cell, ...]:
        """Return the labels that a row shares with its group."""
        pairs = zip(self.labels, row, strict=False)
        return tuple(cell for label, cell in pairs if label in self.group_by)

    def shown(self, index: int) -> list[str]:
        """Return the cells of a row as they are read, marks and intervals behind their numbers."""
        return [
            _text(cell)
            + (MARK if (index, position) in self.marks else "")
            + _brackets(self.intervals.get((index, position)))
            for position, cell in enumerate(self.rows[index])
        ]

    def best_cells(self) -> frozenset[Place]:
        """Return the best number of every column and group; a tie is several.

        Where a group has one row, or a column one number in it, or all are alike, nothing is best.
        """
        numbers: dict[tuple[tuple[Cell, ...], int], list[tuple[Decimal, int]]] = {}
        for index, row in enumerate(self.rows):
            for position in range(len(self.labels), len(row)):
                cell = row[position]
                if isinstance(cell, Decimal):
                    numbers.setdefault((self.group(row), position), []).append((cell, index))
        found = set()
        for (_, position), some in numbers.items():
            which = self._best_of(self.rows[some[0][1]], position)
            if which is not None and len({number for number, _ in some}) > 1:
                best = (max if which == "highest" else min)(number for number, _ in some)
                found |= {(index, position) for number, index in some if number == best}
        return frozenset(found)

    def _best_of(self, row: tuple[Cell, ...], position: int) -> Best | None:
        if self.best is None or isinstance(self.best, str):
            return self.best
        named = (self.header[position], *map(str, self.key(row)))
        return next((self.best[name] for name in named if name in self.best), None)

    def with_ends(self) -> tuple[tuple[str, ...], list[list[Cell]]]:
        """Return header and rows with both ends of intervals in columns of their own."""
        wide = {position for _, position in self.intervals}
        header: list[str] = []
        rows: list[list[Cell]] = [[] for _ in self.rows]
        for position, name in enumerate(self.header):
            header += [name, f"{name} low", f"{name} high"] if position in wide else [name]
            for index, row in enumerate(self.rows):
                ends = self.intervals.get((index, position), (None, None))
                rows[index] += [row[position], *ends] if position in wide else [row[position]]
        return tuple(header), rows

    def is_numeric(self, position: int) -> bool:
        """Return whether any cell at this position is a number: such columns are set right."""
        return any(isinstance(row[position], Decimal) for row in self.rows)


def render(table: Table, style: str) -> str:
    """Return a table as text, without a newline at its end.

    Args:
        table: what to write.
        style: ``markdown``; ``csv``; ``json``, where numbers are numbers; ``latex``, with booktabs;
            or ``html``, an element in ASCII. The best of each column and group is bold in Markdown
            and LaTeX; CSV and JSON have the ends of intervals in columns of their own.

    Raises:
        SpecError: there is no such format.
    """
    if style not in _WRITERS:
        raise SpecError(
            f"there is no format {style!r}: choose one of {', '.join(_WRITERS)}."
            + did_you_mean(style, _WRITERS)
        )
    return _WRITERS[style](table)


def _text(cell: Cell) -> str:
    return "" if cell is None else shown(cell)


def _brackets(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]}, {interval[1]}]"


def _markdown(table: Table) -> str:
    positions = range(len(table.header))
    best = table.best_cells()
    header = [_text(name).replace("|", r"\|") for name in table.header]
    rows = [
        [
            f"**{cell}**" if (index, position) in best else cell.replace("|", r"\|")
            for position, cell in enumerate(table.shown(index))
        ]
        for index in range(len(table.rows))
    ]
    grid = tabulate(
        rows,
        headers=header,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if table.is_numeric(position) else "left" for position in positions],
    )
    return f"{grid}\n\n{shown_lines(table.caption)}"


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header, rows = table.with_ends()
    for row in (header, *rows):
        writer.writerow(
            _text(cell) if isinstance(cell, Decimal) else for_spreadsheet(_text(cell))
            for cell in row
        )
    return text.getvalue().removesuffix("\n")


def _json(table: Table) -> str:
    header, rows = table.with_ends()
    facts = {
        "table": table.name,
        "caption": table.caption,
        "rows": [
            {
                name: float(cell) if isinstance(cell, Decimal) else cell
                for name, cell in zip(header, row, strict=True)
            }
            for row in rows
        ],
    }
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)


def _latex(table: Table) -> str:
    best = table.best_cells()
    alignment = "".join("r" if table.is_numeric(i) else "l" for i in range(len(table.header)))
    lines = [
        r"% needs \usepackage{booktabs,pifont}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{shown_lines(table.caption).translate(_LATEX)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(_text(name).translate(_LATEX) for name in table.header) + r" \\",
    ]
    group = None
    for index, row in enumerate(table.rows):
        if table.group(row) != group:
            group = table.group(row)
            lines.append(r"\midrule")
        cells = [cell.translate(_LATEX) for cell in table.shown(index)]
        bold = [
            rf"\textbf{{{cell}}}" if (index, position) in best else cell
            for position, cell in enumerate(cells)
        ]
        lines.append(" & ".join(bold) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _html(table: Table) -> str:
    def line(tag: str, cells: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [
        "<table>",
        f"<caption>{html.escape(shown_lines(table.caption))}</caption>",
        "<thead>",
        line("th", [_text(name) for name in table.header]),
        "</thead>",
        "<tbody>",
        *(line("td", table.shown(index)) for index in range(len(table.rows))),
        "</tbody>",
        "</table>",
    ]
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace").decode("ascii")


_WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
    "html": _html,
}
FORMATS = tuple(_WRITERS)
