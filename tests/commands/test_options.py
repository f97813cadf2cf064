"""The options that commands share."""

from __future__ import annotations

import argparse

import pytest

from rope_eval.cli import build_parser, main
from rope_eval.commands.options import OPTIONS, Positive, add_shared
from rope_eval.errors import SpecError


def actions(command: str) -> dict[str, argparse.Action]:
    (commands,) = (a for a in build_parser()._actions if isinstance(a.choices, dict))
    return {option: a for a in commands.choices[command]._actions for option in a.option_strings}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_says_the_same_in_every_command(option: str) -> None:
    ppl, attention = actions("ppl").get(option), actions("attention").get(option)
    assert ppl is not None
    if attention is not None and option != "--json":
        assert ppl.help == attention.help
        assert (ppl.default, ppl.choices, ppl.type, ppl.const) == (
            attention.default,
            attention.choices,
            attention.type,
            attention.const,
        )


def test_a_command_may_say_it_in_its_own_words() -> None:
    parser = argparse.ArgumentParser()
    add_shared(parser, "--books", default=None, help="mine")
    assert parser.parse_args([]).books is None
    assert "mine" in parser.format_help()
    assert OPTIONS["--books"]["default"] == "builtin"


def test_a_whole_number_of_one_or_more() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--docs", action=Positive, default=3)
    assert parser.parse_args([]).docs == 3
    assert parser.parse_args(["--docs", "12"]).docs == 12
    for bad in ("0", "-1", "1.5", "x", "", "9" * 30, "٣", "1_0"):
        with pytest.raises(SpecError, match=f"^--docs must be 1 or more, got {bad}$"):
            parser.parse_args([f"--docs={bad}"])


@pytest.mark.parametrize(
    "words",
    [
        *(["ppl", "--lengths", "64", o, "0"] for o in ("--docs", "--chunk-size")),
        ["ppl", "--lengths", "64", "--tensor-parallel-size", "none"],
        ["attention", "--length", "64", "--bins", "-3"],
    ],
)
def test_commands_refuse_what_is_less(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error == f"rope-eval: error: {words[-2]} must be 1 or more, got {words[-1]}\n"
