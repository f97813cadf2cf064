"""The bar: what it shows on a terminal, and that nothing shows anywhere else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from rope_eval.commands import progress
from rope_eval.commands.progress import progress_bar, steps


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
    assert shown.getvalue() == ""


def test_what_is_no_terminal_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert not os.isatty(2)
    run()
    assert capfd.readouterr() == ("", "")


def test_a_log_has_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_lines("8 cells") as report:
        for second in range(0, 95, 5):
            now[0] = 100.0 + second
            report(f"unit {second}", 0.5 + second / 200)  # half was done before
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "8 cells",
        "65% after 30 s, about 70 s left: unit 30",
        "80% after 60 s, about 40 s left: unit 60",
        "95% after 90 s, about 10 s left: unit 90",
    ]
    assert progress.LINE_SECONDS == 30


def test_the_pace_counts_units_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = progress.Pace()
    now[0] = 100.0  # loading
    assert pace.see("a") == ""
    now[0] = 110.0
    assert pace.see("a") == ""
    now[0] = 120.0
    assert pace.see("b") == "3 units/min"
    now[0] = 140.0
    assert pace.see("b") == "1.5 units/min"
    assert pace.see("c") == "3 units/min"
