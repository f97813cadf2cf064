"""How a result came about: the process and the machine, without secrets."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from rope_eval.safe_text import masked_words

_PACKAGES = ("rope-eval", "torch", "transformers", "lm-eval")


def provenance(*, gpu: str | None = None) -> dict[str, Any]:
    """Describe how and where this process runs, without the machine's name.

    Versions come from the installed packages' metadata, None where one is not installed; nothing
    is imported. The commit is that of the repository around the current directory, with "-dirty"
    unless the tracked files are known to be unchanged, or None. The command is without secrets, and
    without the folder that its program lies in.

    Args:
        gpu: the accelerator's name, if one is used.
    """
    return {
        "command": _command(),
        "git_commit": _git_commit(),
        "machine": _machine(gpu),
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
    }


def _command() -> list[str]:
    words = [word.encode(errors="backslashreplace").decode() for word in sys.argv] or [""]
    program = PurePath(words[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return masked_words([name, *words[1:]])


@contextmanager
def timed(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Add ``duration_s``, the wall-clock seconds of the block, to a provenance; also on errors."""
    begin = time.perf_counter()
    try:
        yield record
    finally:
        record["duration_s"] = time.perf_counter() - begin


def of_this_machine(record: Mapping[str, Any]) -> bool:
    """Tell whether a provenance is of a machine like this one: what took so long there does here.

    The accelerator does not count: which one a process will use is not known before.
    """
    here, there = _machine(None), record.get("machine", {})
    return all(there.get(name) == here[name] for name in here if name != "gpu")


def _machine(gpu: str | None) -> dict[str, Any]:
    return {
        "gpu": gpu,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    return commit if changes == "" else f"{commit}-dirty"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
