"""What a command says while it works: one bar on standard error, from one process of several."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rope_eval.safe_text import shown
from rope_eval.terminal import is_first_process, remark

LINE_SECONDS = 30.0
Report = Callable[[str, float], None]
"""Takes what is being done, and how much of the whole is."""


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Report]:
    """Show a progress bar, on a terminal alone, and take it away at the end.

    Args:
        what: stands before the bar until the first report.
        total: how many steps the whole has, which are shown as numbers; None for a whole that is
            reported in parts from 0 to 1.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns += [] if total is None else [MofNCompleteColumn()]
    is_shown = sys.stderr.isatty() and is_first_process()
    with Progress(
        *columns, Remaining(), console=Console(stderr=True), transient=True, disable=not is_shown
    ) as bar:
        task = bar.add_task(what, total=total or 1.0)
        yield lambda what, done: bar.update(task, description=shown(what), completed=done)


def steps(report: Report, name: str, before: int = 0) -> Callable[[int, float], None]:
    """Return what training calls after a step with its number and loss.

    Args:
        report: of a bar over all steps.
        name: of the model that is trained.
        before: steps of the whole that were done before its first.
    """
    return lambda step, loss: report(f"{name} {loss:.3f} nats", before + step)


@contextmanager
def progress_lines(what: str, every: float = LINE_SECONDS) -> Iterator[Report]:
    """Print a line to standard error now and then, for a log: what is done, and the time left.

    Args:
        what: is said at once.
        every: seconds from one line to the next.
    """
    remark(what)
    start = last = time.monotonic()
    first: float | None = None

    def report(what: str, done: float) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = done if first is None else first  # what was done already took no time
        if now - last >= every:
            last = now
            gone = now - start
            left = (
                f", about {gone * (1 - done) / (done - first):.0f} s left" if done > first else ""
            )
            remark(f"{done:.0%} after {gone:.0f} s{left}: {what}")

    yield report


class Pace:
    """How many units a minute are done: of those that this process works at, one after another."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._unit: str | None = None
        self._over = 0

    def see(self, unit: str) -> str:
        """Take note of the unit at work, and return the rate so far, empty before the first."""
        if unit != self._unit:
            if self._unit is None:
                self._start = time.monotonic()  # what came before was loading
            else:
                self._over += 1
            self._unit = unit
        seconds = time.monotonic() - self._start
        return f"{60 * self._over / seconds:.3g} units/min" if self._over and seconds else ""
