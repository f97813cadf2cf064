"""How a result came about: the process, the machine, and which model it was."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError

WHOLE_FILE_BYTES = 64 << 20
HEAD_BYTES = 1 << 20

_PACKAGES = ("rope-eval", "torch", "transformers", "lm-eval")
_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "*.py",
)
_WEIGHT_FILES = ("*.safetensors", "*.bin")


def provenance(*, gpu: str | None = None) -> dict[str, Any]:
    """Describe how and where this process runs, without the machine's name.

    Versions come from the installed packages' metadata, None where one is not installed; nothing
    is imported. The commit is that of the repository around the current directory, with "-dirty"
    unless the tracked files are known to be unchanged, or None. Hugging Face tokens are cut from
    the command.

    Args:
        gpu: The accelerator's name, if one is used.
    """
    return {
        "command": [_printable(word) for word in sys.argv],
        "git_commit": _git_commit(),
        "machine": {
            "gpu": gpu,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "platform": platform.platform(),
            "processors": os.cpu_count(),
        },
        "started": datetime.now(UTC).isoformat(timespec="microseconds"),
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
    }


@contextmanager
def timed(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Add ``duration_s``, the wall-clock seconds of the block, to a provenance; also on errors."""
    begin = time.perf_counter()
    try:
        yield record
    finally:
        record["duration_s"] = time.perf_counter() - begin


def model_fingerprint(directory: str | Path) -> str:
    """Return the identity of a model directory by content: SHA-256 in hex.

    Over the name, size and content of the configuration, tokenizer and code files and of the
    weights (``*.safetensors``, ``*.bin`` and their indexes) in the directory itself. Of a weight
    file over 64 MiB only the first MiB and the modification time count: reading 140 GB before
    every run would cost minutes, and the first MiB alone does not tell two fine-tunes with the
    same shapes apart. A copy of large weights that loses the time is thus another model, which
    costs a run again and never gives a wrong one.

    Raises:
        DataError: If this is no directory, or one without ``config.json`` or without weights.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such model directory")
    weights = _matching(directory, _WEIGHT_FILES)
    if not (directory / "config.json").is_file() or not weights:
        want = "weights (*.safetensors or *.bin)" if not weights else "config.json"
        raise DataError(f"{directory}: a model directory without {want}")
    digest = hashlib.sha256()
    for path in sorted(weights | _matching(directory, (*_CONFIG_FILES, "*.index.json"))):
        try:
            status = path.stat()
            whole = path not in weights or status.st_size <= WHOLE_FILE_BYTES
            changed = None if whole else status.st_mtime_ns
            digest.update(json.dumps([path.name, status.st_size, changed]).encode())
            with path.open("rb") as file:
                if whole:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    digest.update(file.read(HEAD_BYTES))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _matching(directory: Path, patterns: Iterable[str]) -> set[Path]:
    return {path for pattern in patterns for path in directory.glob(pattern) if not path.is_dir()}


def _printable(word: str) -> str:
    word = word.encode(errors="backslashreplace").decode()
    return re.sub(r"hf_[A-Za-z0-9]{20,}", "hf_***", word)


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
