"""The bar: what it shows on a terminal, and that nothing shows anywhere else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from rope_eval.commands.progress import progress_bar, say, steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[Terminal]:
    with redirect_stderr(Terminal()) as made:
        yield made


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)


def run() -> None:
    with progress_bar("all steps", 12) as report:
        on_step = steps(report, "a model [x]", before=4)
        on_step(3, 2.5)


def test_a_terminal_shows_what_is_done_of_how_many() -> None:
    with terminal() as shown:
        run()
    lines = shown.getvalue().split("\r")
    assert any("a model [x] 2.500 nats" in line and "7/12" in line for line in lines)


def test_parts_have_no_numbers() -> None:
    with terminal() as shown, progress_bar("loading") as report:
        report("a book", 0.5)
    assert "a book" in shown.getvalue() and "/1" not in shown.getvalue()


def test_other_processes_of_a_launcher_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal() as shown:
        monkeypatch.setenv("RANK", "1")
        run()
        say("a line")
        assert shown.getvalue() == ""
        monkeypatch.setenv("RANK", "0")
        say("a line")
        assert shown.getvalue() == "a line\n"


def test_what_is_no_terminal_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert not os.isatty(2)
    run()
    assert capfd.readouterr() == ("", "")
