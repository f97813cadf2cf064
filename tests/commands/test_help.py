"""What the command line says of itself: all of it, and within a terminal of 80 columns."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

import pytest

from rope_eval.cli import build_parser, main
from rope_eval.commands import JOBS
from rope_eval.commands.help import Parser
from studies.scaling_laws.commands import build_parser as lab_parser


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _parsers(one)


ALL = [*_parsers(build_parser()), *_parsers(lab_parser())]


@pytest.mark.parametrize("parser", ALL, ids=lambda parser: parser.prog)
def test_help_fits_a_terminal(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = [line for line in parser.format_help().splitlines() if len(line) > 80]
    assert not wide


def test_every_command_stands_below_its_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    blocks = [block.splitlines() for block in out.split("\n\n")]
    jobs = {block[0].rstrip(":"): block[1:] for block in blocks if block[0].rstrip(":") in JOBS}
    assert list(jobs) == list(JOBS)
    assert [len(lines) for lines in jobs.values()] == [len(commands) for commands in JOBS.values()]
    names = [line.split()[0] for lines in jobs.values() for line in lines]
    (choices,) = (list(a.choices) for a in build_parser()._actions if isinstance(a.choices, dict))
    assert names == choices
    assert (
        "  ppl          perplexity and accuracy of whole books at every length" in jobs["measure"]
    )
    assert "95 % intervals" in out


def test_the_name_of_a_command_is_in_its_usage() -> None:
    assert "rope-eval ppl" in [parser.prog for parser in ALL]


EPILOG = """\
examples:
  tool run --model DIR --lengths 4k,16k --rope rope_theta=500 \\
      --json
  tool run plan.yaml --dry-run        # short

Prose that goes on
in a second line, and is one sentence.
"""


def test_commands_stay_whole_and_prose_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        return Parser(prog="tool", epilog=EPILOG).format_help().split("\n\n", 2)[-1].splitlines()

    assert shown(80) == [
        "examples:",
        "  tool run --model DIR --lengths 4k,16k --rope rope_theta=500 \\",
        "      --json",
        "  tool run plan.yaml --dry-run        # short",
        "",
        "Prose that goes on in a second line, and is one sentence.",
    ]
    narrow = shown(42)
    assert max(map(len, narrow)) <= 40
    assert narrow == [
        "examples:",
        "  tool run --model DIR \\",
        "      --lengths 4k,16k \\",
        "      --rope rope_theta=500 --json",
        "  # short",
        "  tool run plan.yaml --dry-run",
        "",
        "Prose that goes on in a second line, and",
        "is one sentence.",
    ]
    words = [word for line in narrow[1:4] for word in line.removesuffix("\\").split()]
    joined = "tool run --model DIR --lengths 4k,16k --rope rope_theta=500 --json"
    assert " ".join(words) == joined
