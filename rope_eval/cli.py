"""`rope-eval`: the command line. What a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

from rope_eval import __version__
from rope_eval.commands import JOBS
from rope_eval.commands.help import Parser
from rope_eval.errors import OtherProcessError, RopeEvalError, SpecError
from rope_eval.hosts.opencompass.environment import check_environment
from rope_eval.terminal import complain

_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM)
EPILOG = """\
`rope-eval COMMAND --help` has examples.
Exit status: 0 done, 1 failed work, 2 bad input.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="rope-eval",
        usage="rope-eval [-h] [--version] COMMAND …",
        description="Apply any RoPE setting to a language model, and measure what it did.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rope-eval {__version__}")
    subparsers = parser.add_subparsers(
        metavar="COMMAND",
        required=True,
        prog="rope-eval",
        parser_class=Parser,
        help=argparse.SUPPRESS,  # they are listed by job
    )
    jobs = []
    for job, commands in JOBS.items():
        before = len(subparsers._choices_actions)
        for command in commands:
            command.add_parser(subparsers)
        added = subparsers._choices_actions[before:]
        lines = [f"  {one.dest:<12} {(one.help or '').replace('%%', '%')}" for one in added]
        jobs.append("\n".join([f"{job}:", *lines]))
    parser.epilog = "\n\n".join([*jobs, EPILOG])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status; a user's mistake is a message, not a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        check_environment()
        args = _parsed(words)
        status: int = args.run(args)
    except OtherProcessError as error:
        return error.exit_code
    except RopeEvalError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:  # of a file that nothing below has named
        complain(error)
        return 1 if error.errno in _FAILED else 2
    except KeyboardInterrupt:
        print("rope-eval: interrupted", file=sys.stderr)
        return 130
    return status


def _parsed(words: list[str]) -> argparse.Namespace:
    """Read the words; of a launcher's processes, which have the same ones, the first complains."""
    if os.environ.get("RANK", "0") == "0":
        return _read(words)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            return _read(words)
    except RopeEvalError as error:
        raise OtherProcessError(error.exit_code) from error


def _read(words: list[str]) -> argparse.Namespace:
    _check_words(words)
    args, rest = build_parser().parse_known_args(words)
    if rest and not getattr(args, "passes_on", False):
        build_parser().parse_args(words)  # says which argument is unknown, and exits
    args.rest = rest
    return args


def _check_words(words: Sequence[str]) -> None:
    """Raise `SpecError` for a word that no option can have as its value."""
    for word in words:
        try:
            null = b"\0" in os.fsencode(word)
        except UnicodeEncodeError:
            raise SpecError(f"{word!r} holds a lone surrogate, not a character") from None
        if null:
            raise SpecError(f"{word!r} holds a null character")
        if word.startswith("--") and word.endswith(
            "=--"
        ):  # argparse would make an empty list of it
            raise SpecError(f"{word[:-3]} has the value --, which ends the options")
