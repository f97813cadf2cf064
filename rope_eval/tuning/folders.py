"""A checkpoint's folder, which takes its place whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rope_eval.errors import StoreError


def make_folder(folder: Path) -> None:
    """Make a folder for checkpoints, with those above it.

    Raises:
        StoreError: where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {folder}: {error.strerror}.") from error


@contextmanager
def checkpoint_folder(directory: Path, record: dict[str, Any]) -> Iterator[Path]:
    """Give a folder to write a checkpoint to, which takes its place whole or not at all.

    Args:
        directory: What it becomes in the end, with ``record.json``; what was there is replaced.
        record: How the checkpoint was made.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    (partial / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if directory.exists():
        shutil.rmtree(directory)
    partial.rename(directory)
