"""What people read: no line wider than the terminal it goes to, whole everywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from rope_eval.terminal import complain, remark, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.delenv("RANK", raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", ["short"]),
        (
            "rope   rope_theta=1000000,pretrain_theta=10000",
            ["rope   rope_theta=1000000,", "       pretrain_theta=10000"],
        ),
        (
            "  rope-eval tune --model DIR --rope-theta 500",
            ["  rope-eval tune --model DIR \\", "      --rope-theta 500"],
        ),
        (
            "a sentence that is longer than thirty",
            ["a sentence that is longer than", "thirty"],
        ),
        ("run    /a/path/longer/than/thirty/is", ["run", "       /a/path/longer/than/thirty/is"]),
    ],
)
def test_lines_within_a_terminal(
    text: str, shown: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setattr(sys, "stdout", Terminal())
    say(text)
    assert sys.stdout.getvalue().splitlines() == shown  # type: ignore[attr-defined]


def test_what_is_said_beside_an_answer_has_the_width_of_its_own_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "note: nothing is changed in so few tokens"
    remark(line)
    complain("no such model, and a\x1b[31m colour")
    out, err = capsys.readouterr()
    assert not out
    assert err == f"{line}\nrope-eval: error: no such model, and a\\x1b[31m colour\n"

    monkeypatch.setattr(sys, "stderr", Terminal())
    remark(line)
    complain("no such model, and one more")
    assert sys.stderr.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "note: nothing is changed in so",
        "few tokens",
        "rope-eval: error: no such",
        "model, and one more",
    ]
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_other_processes_of_a_launcher_are_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, said in (("1", ""), ("0", "a line\n")):
        monkeypatch.setenv("RANK", rank)
        remark("a line")
        assert capsys.readouterr().err == said
