"""Runs the command line in this process: a traceback, a hang or a file left behind fails."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rope_eval.cli import main

SECONDS = 10


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, and what it said."""

    status: int
    out: str
    err: str


@contextmanager
def watchdog() -> Iterator[None]:
    """Fail after ten seconds of work, or a minute of waiting: other tests may have the machine."""
    start, worked = time.monotonic(), time.process_time()

    def late(*_: object) -> None:
        if time.process_time() - worked >= SECONDS or time.monotonic() - start >= 6 * SECONDS:
            raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rope_eval(*words: str) -> Ended:
    """Run ``rope-eval WORDS`` in the current directory; bad input is said, and leaves nothing."""
    before = _content()
    out, err = io.StringIO(), io.StringIO()
    with watchdog(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as error:  # of argparse
            status = int(error.code or 0)
    ended = Ended(status, out.getvalue(), err.getvalue())
    assert status in (0, 1, 2), (words, ended)
    if status == 2:
        assert "error: " in ended.err, (words, ended)
        assert _content() == before, words
    return ended


def _content() -> dict[str, tuple[int, int]]:
    """Return the size and time of every file below the current directory, by its name."""
    files = [Path(folder, name) for folder, _, names in os.walk(".") for name in names]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}
