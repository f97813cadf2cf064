"""Where the package's own files lie, and those that it writes for other programs to read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rope_eval.errors import StoreError

_PACKAGE = Path(__file__).resolve().parent


def asset(name: str) -> Path:
    """Return the folder `tasks`, `model_configs` or `results`, installed or in a checkout."""
    installed = _PACKAGE / "_assets" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def checkout() -> Path | None:
    """Return the root of the repository that this package runs from, or None where installed."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def cached(name: str, files: Mapping[str, str]) -> Path:
    """Return a folder of the user's cache that holds these files, and write those that it lacks.

    The folder's name has the digest of what is in it: two versions, or two catalogues, have two
    folders, and processes that write the same one at the same time do not disturb each other.

    Args:
        name: what the folder's name begins with.
        files: texts by their paths in the folder, with ``/``.

    Raises:
        StoreError: where the cache cannot be written; XDG_CACHE_HOME says where it is.
    """
    from platformdirs import user_cache_path

    digest = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
    folder = user_cache_path("rope-eval") / f"{name}-{digest[:12]}"
    for path, text in files.items():
        file = folder / path
        if not (file.is_file() and file.read_bytes() == text.encode()):
            write_whole(file, text)
    return folder


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all, and the folders above it; what was there is replaced.

    Raises:
        StoreError: where it cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StoreError(f"{file} cannot be written: {error.strerror}") from error


def is_directory(name: str) -> bool:
    """Tell whether a text names a directory; one that no file system takes names none."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long, or a null character
        return False
