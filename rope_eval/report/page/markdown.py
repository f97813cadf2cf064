"""The page as Markdown, for a pull request: what failed, the scores, and the rest folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rope_eval.report.page.model import Cell, Figure, Note, Page, Part, Sample, Section, Table
from rope_eval.safe_text import shown, shown_lines

_SIGNS = {"good": "✅ ", "warn": "⚠️ ", "bad": "❌ ", "": ""}
_ACTIVE = re.compile(r"([\\`*_\[\]<>|~&])")
_REFERENCE = re.compile("([@#])")  # GitHub would write to whoever has the name
_FOLDED = ("samples", "runs", "provenance")


def markdown_of(page: Page) -> str:
    """Return the page as GitHub's Markdown; figures are named and left out."""
    facts = ", ".join(f"{escaped(name)} {escaped(value)}" for name, value in page.facts)
    blocks = [f"## {escaped(page.title)}", f"{_SIGNS[page.state]}{escaped(page.verdict)}", facts]
    for section in page.sections:
        blocks += _section(section)
    return "\n\n".join(blocks)


def escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is, on one line.

    >>> print(escaped("a|b <i> *c* 1.5"))
    a\|b \<i\> \*c\* 1.5
    """
    return _REFERENCE.sub("\\1\u200b", _ACTIVE.sub(r"\\\1", shown(text)))


def _section(section: Section) -> Iterator[str]:
    if section.name in _FOLDED:
        yield f"<details><summary>{section.title}</summary>"
    else:
        yield f"### {escaped(section.title)}"
    for part in section.parts:
        yield from _part(part)
    if section.name in _FOLDED:
        yield "</details>"


def _part(part: Part) -> Iterator[str]:
    if isinstance(part, Table):
        yield from _table(part)
    elif isinstance(part, Figure):
        yield f"*{escaped(part.title)}*: a figure of the HTML page."
    elif isinstance(part, Sample):
        yield f"**{escaped(part.title)}**"
        yield fenced(part.prompt)
        for who, text in part.texts:
            yield f"{escaped(who)}:"
            yield fenced(text)
    elif isinstance(part, Note):
        yield f"{_SIGNS[part.state]}{escaped(part.text)}"


def _table(table: Table) -> Iterator[str]:
    notes: list[str] = []
    rows = [[_cell(cell, notes) for cell in row] for row in table.rows]
    yield f"**{escaped(table.title)}**"
    rule = ["--:" if table.is_numeric(i) else ":--" for i in range(len(table.columns))]
    lines = [[escaped(column) for column in table.columns], rule, *rows]
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if notes:
        yield "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))
    if table.caption:
        yield escaped(table.caption)


def _cell(cell: Cell, notes: list[str]) -> str:
    """Return a cell, with the numbers of its notes, which stand below the table once each."""
    marks = []
    for note in map(escaped, cell.notes):
        if note not in notes:
            notes.append(note)
        marks.append(str(notes.index(note) + 1))
    text = _SIGNS[cell.state] + escaped(cell.text)
    more = f" ({escaped(cell.more)})" if cell.more else ""
    return text + more + (f" <sup>{', '.join(marks)}</sup>" if marks else "")


def fenced(text: str) -> str:
    """Return a text in a block of code that it cannot end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown_lines(text)}\n{fence}"
