"""How commands print: as wide as the terminal, or in a format for something else."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rope_eval.safe_text import shown_lines

if TYPE_CHECKING:
    from rope_eval.report.formats import Table

_WHOLE = 10**6  # characters a line, where there is no terminal
_COMMAND = re.compile(r" +(rope-eval|lm_eval|accelerate|torchrun|vllm) ")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")


def show(table: Table, style: str | None = None) -> None:
    """Print a table.

    Args:
        table: what to print.
        style: ``text``, or one of `rope_eval.report.formats.FORMATS`; by default text on a
            terminal, and Markdown elsewhere. The caption of a CSV goes to standard error.

    Raises:
        SpecError: there is no such format.
    """
    from rope_eval.errors import SpecError, did_you_mean
    from rope_eval.report.formats import FORMATS, render
    from rope_eval.report.terminal import fitted, terminal_width

    if style not in (None, "text", *FORMATS):
        styles = ("text", *FORMATS)
        raise SpecError(
            f"there is no format {style!r}: choose one of {', '.join(styles)}."
            + did_you_mean(str(style), styles)
        )
    width = terminal_width()
    if style == "text" or (style is None and width is not None):
        print(fitted(table, width or _WHOLE))
        return
    print(render(table, style or "markdown"))
    if style == "csv":
        print(shown_lines(table.caption), file=sys.stderr)


def say(text: str) -> None:
    """Print lines that a person reads: on a terminal none is wider than it is.

    What goes on stands below where it began; a command goes on as a shell takes it.
    """
    from rope_eval.report.terminal import terminal_width

    width = terminal_width()
    print(text if width is None else within(text, width), flush=True)


def within(text: str, width: int) -> str:
    r"""Return lines of text in lines no wider than so many characters.

    >>> print(within("bound  none: the config scales its frequencies", 30))
    bound  none: the config scales
           its frequencies
    >>> print(within("  rope-eval tune --model DIR --rope-theta 500", 30))
      rope-eval tune --model DIR \
          --rope-theta 500
    """
    from rope_eval.commands.help import command_lines
    from rope_eval.report.terminal import wrapped

    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) > width and _COMMAND.match(line):
            lines += command_lines(line, width)
        elif len(line) > width:
            lines.append(wrapped(line, width, " " * _hanging(line, width), words_whole=True))
        else:
            lines.append(line)
    return "\n".join(lines)


def _hanging(line: str, width: int) -> int:
    """Return where the last column of a line begins, if that leaves it half of the terminal."""
    begins = [gap.end() for gap in _GAP.finditer(line) if gap.end() <= width // 2]
    return begins[-1] if begins else len(line) - len(line.lstrip())
