"""How the command line explains itself: within the terminal, and commands by what they are for."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

_COMMENT = re.compile(r"^(\s*\S.*?)\s{2,}#\s(.*)$")
_CONTINUED = " \\"


class Help(argparse.RawDescriptionHelpFormatter):
    """Fills prose to the width of the terminal; what is indented are commands, and stays.

    A command that is wider goes on in the next line, as a shell takes it, and a comment on it
    stands before it.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.strip("\n").replace(_CONTINUED + "\n", _CONTINUED + "\0").split("\n")
        filled = []
        for kind, some in groupby(lines, key=lambda line: line[:1].isspace() or not line):
            if kind:
                filled += [part for line in some for part in command_lines(line, width)]
            else:
                filled.append(textwrap.fill(" ".join(some), width, break_on_hyphens=False))
        return "".join(f"{indent}{line}\n" for line in "\n".join(filled).split("\n"))


class Parser(argparse.ArgumentParser):
    """A parser of a command, explained by `Help`."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        return Help(self.prog)


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
    whole = " ".join(part.removesuffix(_CONTINUED).strip() for part in line.split("\0"))
    margin = " " * (len(line) - len(line.lstrip()))
    first, *options = re.split(r" (?=-{1,2}[a-zA-Z])", whole)
    held = margin + first
    for option in options:
        if len(held) + len(option) + 1 + len(_CONTINUED) > width:
            yield held + _CONTINUED
            held = f"{margin}    {option}"
        else:
            held += f" {option}"
    yield held
