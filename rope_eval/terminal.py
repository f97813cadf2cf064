"""What people read: an answer on standard output, what is said beside it on standard error.

On a terminal no line is wider than it is; in a pipe or a file each stays whole.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TextIO

from rope_eval.safe_text import masked, shown

CONTINUED = " \\"
_COMMENT = re.compile(r"^(\s*\S.*?)\s{2,}#\s(.*)$")
_COMMAND = re.compile(r" +(rope-eval|lm_eval|accelerate|torchrun|vllm) ")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")


def say(text: str) -> None:
    """Print lines of an answer.

    What goes on stands below where it began; a command goes on as a shell takes it.
    """
    _print(text, sys.stdout)


def remark(text: str) -> None:
    """Print a line beside the answer, without escapes, from the first process of a launcher."""
    if is_first_process():
        _print(shown(text), sys.stderr)


def complain(error: object, program: str = "rope-eval") -> None:
    """Print an error on standard error, without escapes and secrets."""
    _print(f"{program}: error: {shown(masked(str(error)))}", sys.stderr)


def is_first_process() -> bool:
    """Tell the process that speaks from the others of a launcher, which says RANK."""
    return os.environ.get("RANK", "0") == "0"


def _print(text: str, stream: TextIO) -> None:
    width = terminal_width(stream)
    print(text if width is None else within(text, width), file=stream, flush=True)


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Return the columns of the terminal that is written to, or None where it is none.

    Args:
        stream: by default standard output.
    """
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def within(text: str, width: int) -> str:
    r"""Return lines of text in lines no wider than so many characters.

    >>> print(within("bound  none: the config scales its frequencies", 30))
    bound  none: the config scales
           its frequencies
    >>> print(within("  rope-eval tune --model DIR --rope-theta 500", 30))
      rope-eval tune --model DIR \
          --rope-theta 500
    """
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


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines at spaces, and after the commas of a name."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=,)(?=\S))")


def wrapped(text: str, width: int, indent: str = "", *, words_whole: bool = False) -> str:
    """Return a text in lines no wider than so many characters.

    Args:
        text: of any length.
        width: of a line.
        indent: before each line but the first.
        words_whole: whether a word that is wider stays whole, such as a path to be copied.
    """
    return _Wrapper(
        width,
        break_on_hyphens=False,
        break_long_words=not words_whole,
        subsequent_indent=indent,
    ).fill(text)


def command_lines(line: str, width: int) -> Iterator[str]:
    """Return a command in lines no wider than so many characters, as far as its words allow.

    Args:
        line: with what stands before it, its own lines parted by a null character.
        width: of a line.
    """
    parts = line.split("\0")
    if max(map(len, parts)) <= width:
        yield from parts
        return
    if said := _COMMENT.match(line):
        line = said[1]
        start = " " * (len(line) - len(line.lstrip())) + "# "
        yield from textwrap.wrap(said[2], width, initial_indent=start, subsequent_indent=start)
    whole = " ".join(part.removesuffix(CONTINUED).strip() for part in line.split("\0"))
    margin = " " * (len(line) - len(line.lstrip()))
    first, *options = re.split(r" (?=-{1,2}[a-zA-Z])", whole)
    held = margin + first
    for option in options:
        if len(held) + len(option) + 1 + len(CONTINUED) > width:
            yield held + CONTINUED
            held = f"{margin}    {option}"
        else:
            held += f" {option}"
    yield held
