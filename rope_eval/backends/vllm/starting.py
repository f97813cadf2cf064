"""Why an engine did not start: its processes say it on standard error, vLLM's error does not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from rope_eval import errors
from rope_eval.errors import ProcessError, RopeEvalError

MOST = 4 << 20  # bytes that are kept of what is said
_FAILED = "Engine core initialization failed"
_BEFORE = re.compile(r"^(\([^)]*\) )?((ERROR|CRITICAL) [^\]]*\] ?)?")
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit))(?:: (.+))?$")
_OUTER = re.compile(r"root cause|stack trace|initialization failed", re.IGNORECASE)


@contextmanager
def starting(model: str) -> Iterator[None]:
    """Start an engine of vLLM inside: where its processes fail, the first cause is raised.

    Args:
        model: that is served, for the error.

    Raises:
        RopeEvalError: of the kind that a process raised, else a `ProcessError`.
    """
    said = bytearray()
    thread = None
    try:
        with _heard(said) as thread:
            yield
    except RuntimeError as error:
        if _FAILED not in str(error):
            raise
        assert thread is not None
        thread.join(timeout=10)
        raise _error(model, cause(said.decode(errors="replace"))) from error


def cause(said: str) -> tuple[str, str] | None:
    """Return the first exception of the first traceback that says more than to look above.

    Args:
        said: standard error, each line with or without vLLM's process and level before it.

    Returns:
        Its class and message, or None where there is none.
    """
    inside = False
    for line in said.splitlines():
        text = _BEFORE.sub("", line, count=1)
        inside = inside or text.startswith("Traceback (most recent call last)")
        found = _RAISED.match(text) if inside else None
        if found and not _OUTER.search(found[2] or ""):
            return found[1].rpartition(".")[2], found[2] or ""
    return None


def _error(model: str, found: tuple[str, str] | None) -> RopeEvalError:
    name, message = found or ("", "what its processes said is above")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, RopeEvalError):
        return kind(message)
    reason = f"{name}: {message}" if name and message else name or message
    return ProcessError(f"vLLM's engine of {model} did not start: {reason}")


@contextmanager
def _heard(said: bytearray) -> Iterator[Thread]:
    """Hand standard error on, of this process and those that it starts, and keep what it was."""
    reader, writer = os.pipe()
    screen = os.dup(2)

    def listen() -> None:  # as long as a process of the engine lives
        while heard := os.read(reader, 1 << 16):
            os.write(screen, heard)
            said.extend(heard[: MOST - len(said)])

    thread = Thread(target=listen, daemon=True)
    thread.start()
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield thread
    finally:
        os.dup2(screen, 2)
