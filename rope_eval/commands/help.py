"""How the command line explains itself: within the terminal, and commands by what they are for."""

from __future__ import annotations

import argparse
import textwrap
from itertools import groupby

from rope_eval.terminal import CONTINUED, command_lines


class Help(argparse.RawDescriptionHelpFormatter):
    """Fills prose to the width of the terminal; what is indented are commands, and stays.

    A command that is wider goes on in the next line, as a shell takes it, and a comment on it
    stands before it.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.strip("\n").replace(CONTINUED + "\n", CONTINUED + "\0").split("\n")
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
