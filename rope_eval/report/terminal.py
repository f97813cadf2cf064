"""Tables that a terminal can show: what goes into a pipe or a file stays whole."""

from __future__ import annotations

import shutil
import sys
import textwrap

from tabulate import tabulate

from rope_eval.report.formats import Table
from rope_eval.safe_text import shown, shown_lines

_BETWEEN = 2  # spaces


def terminal_width() -> int | None:
    """Return the columns of the terminal that is written to, or None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(table: Table, width: int) -> str:
    """Return a table as text of lines that are no wider than so many characters.

    Columns that do not fit beside each other stand below, with the labels again; labels, texts and
    the caption are wrapped. No terminal that is narrower than 40 is taken account of.
    """
    width = max(width, 40)
    grid = [list(map(shown, table.header)), *map(table.shown, range(len(table.rows)))]
    count = len(table.labels)
    widths = [max(map(len, cells)) for cells in zip(*grid, strict=True)]
    room = width // 2 - _BETWEEN * count
    while sum(widths[:count]) > room and max(widths[:count]) > 8:
        widest = widths.index(max(widths[:count]))
        widths[widest] -= 1
    free = width - sum(widths[:count]) - _BETWEEN * count
    widths[count:] = [min(wide, free) for wide in widths[count:]]
    captions = (
        textwrap.fill(line, width, break_on_hyphens=False)
        for line in shown_lines(table.caption).splitlines()
    )
    blocks = [_block(table, grid, widths, positions) for positions in _blocks(widths, count, free)]
    return "\n\n".join([*blocks, "\n".join(captions)])


def _blocks(widths: list[int], count: int, free: int) -> list[list[int]]:
    """Return the columns that stand beside each other, as positions."""
    blocks: list[list[int]] = [[]]
    for position in range(count, len(widths)):
        used = sum(widths[p] + _BETWEEN for p in blocks[-1])
        if blocks[-1] and used + widths[position] > free:
            blocks.append([])
        blocks[-1].append(position)
    return blocks


def _block(table: Table, grid: list[list[str]], widths: list[int], positions: list[int]) -> str:
    chosen = [*range(len(table.labels)), *positions]
    header, *rows = (
        [
            textwrap.fill(line[p], widths[p], break_on_hyphens=False) if line[p] else ""
            for p in chosen
        ]
        for line in grid
    )
    rule = ["-" * widths[p] for p in chosen]
    return tabulate(  # a header of its own would be two characters wider
        [header, rule, *rows],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if table.is_numeric(p) else "left" for p in chosen],
    )
