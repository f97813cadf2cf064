"""Tables that a terminal can show: what goes into a pipe or a file stays whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING

from rope_eval.safe_text import shown, shown_lines
from rope_eval.terminal import wrapped

if TYPE_CHECKING:
    from rope_eval.report.formats import Cell, Table

_BETWEEN = 2  # spaces
_LEAST = 20  # characters that numbers have beside the labels
_DOTS = "…"


def fitted(table: Table, width: int) -> str:
    """Return a table as text of lines that are no wider than so many characters.

    What competes in a column (`Table.group_by`) stands together below its name, with the columns
    that have anything; or all below what they share. Columns that do not fit beside each other
    stand below, with the labels again; labels that leave no room for numbers are cut in the
    middle, and stand in full at the end. Texts and the caption are wrapped. No terminal that is
    narrower than 40 is taken account of.
    """
    width = max(width, 40)
    grid = [list(map(shown, table.header)), *map(table.shown, range(len(table.rows)))]
    heads = _heads(table)
    sections: dict[tuple[Cell, ...], list[int]] = {}
    for index, row in enumerate(table.rows):
        sections.setdefault(tuple(row[p] for p in heads), []).append(index)
    labels = [p for p in range(len(table.labels)) if p not in heads]
    cut = _cut_labels(table, grid, labels, width)
    parts = []
    for name, rows in sections.items():
        some = [grid[0], *(grid[row + 1] for row in rows)]
        if any(name):
            parts.append(wrapped(", ".join(map(str, filter(None, name))), width))
        columns = [
            p
            for p in range(len(table.labels), len(table.header))
            if len(sections) == 1 or any(line[p] for line in some[1:])
        ]
        parts += _blocks_of(table, some, labels, columns, width)
    for lines in (cut, shown_lines(table.caption).splitlines()):
        if lines:
            parts.append("\n".join(wrapped(line, width) for line in lines))
    return "\n\n".join(parts)


def _heads(table: Table) -> list[int]:
    """Return the labels that stand above rows: of what competes, else those that all rows share.

    One that would stand above each row alone helps no one.
    """
    labels = range(len(table.labels))
    grouped = [p for p in labels if table.labels[p] in table.group_by]
    groups = {table.group(row) for row in table.rows}
    if grouped and len(grouped) < len(labels) and not 1 < len(groups) == len(table.rows):
        return grouped
    shared = [p for p in labels if len({row[p] for row in table.rows}) == 1]
    return shared if len(shared) < len(labels) else []


def _cut_labels(
    table: Table, grid: list[list[str]], labels: Sequence[int], width: int
) -> list[str]:
    """Cut the labels that leave too little room, and return what they are in full."""
    numbers = [p for p in range(len(table.labels), len(table.header)) if table.is_numeric(p)]
    least = max([_LEAST, *(len(line[p]) for line in grid for p in numbers)])
    columns = range(len(table.labels), len(table.header))
    widths = {p: max(len(line[p]) for line in grid) for p in (*labels, *columns)}
    wanted = sum(widths.pop(p) + _BETWEEN for p in columns)
    free = width - sum(widths.values()) - _BETWEEN * len(labels)
    if wanted > 2 * max(least, free):  # labels that come again and again are no help
        least = max(least, width // 2)
    room = width - least - _BETWEEN * len(labels)
    while sum(widths.values()) > room and max(widths.values()) > 8:
        widest = max(widths, key=lambda p: widths[p])
        widths[widest] -= 1
    full: dict[str, str] = {}
    for line in grid[1:]:
        for p, wide in widths.items():
            if len(line[p]) > wide and line[p] not in full:
                full[line[p]] = _cut(line[p], wide, set(full.values()))
            line[p] = full.get(line[p], line[p])
    return [f"{short}: {whole}" for whole, short in full.items()]


def _cut(text: str, width: int, taken: Collection[str]) -> str:
    """Return a text without its middle, and with a number where that has a name already."""
    tail = text[len(text) - (width - width // 2 - 1) :]
    tails = chain([tail], (f"({n})" for n in count(2)))
    shorts = (text[: width - len(tail) - 1] + _DOTS + tail for tail in tails)
    return next(short for short in shorts if short not in taken)


def _blocks_of(
    table: Table,
    grid: list[list[str]],
    labels: Sequence[int],
    columns: Sequence[int],
    width: int,
) -> list[str]:
    widths = {p: max(len(line[p]) for line in grid) for p in (*labels, *columns)}
    free = width - sum(widths[p] + _BETWEEN for p in labels) + (0 if labels else _BETWEEN)
    blocks: list[list[int]] = [[]]
    for p in columns:
        widths[p] = min(widths[p], free)
        used = sum(widths[q] + _BETWEEN for q in blocks[-1])
        if blocks[-1] and used + widths[p] > free:
            blocks.append([])
        blocks[-1].append(p)
    return [_block(table, grid, widths, [*labels, *block]) for block in blocks]


def _block(table: Table, grid: list[list[str]], widths: dict[int, int], chosen: list[int]) -> str:
    from tabulate import tabulate  # what `theory` prints needs the standard library alone

    header, *rows = (
        [wrapped(line[p], widths[p]) if line[p] else "" for p in chosen] for line in grid
    )
    rule = ["-" * widths[p] for p in chosen]
    return tabulate(  # a header of its own would be two characters wider
        [header, rule, *rows],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if table.is_numeric(p) else "left" for p in chosen],
    )
