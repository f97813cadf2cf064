"""Files that a user names: opened only where they are files, and read only so far."""

from __future__ import annotations

import json
import stat
import tempfile
from pathlib import Path
from typing import IO, Any

from rope_eval.errors import DataError

Place = Path | str
"""A path, or a URL of fsspec, such as ``s3://bucket/runs``."""

SMALL_BYTES = 64 << 20  # no configuration, catalogue or table of results is larger

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def place(text: str) -> Place:
    """Return what a text names: a path would take one of a URL's two slashes away."""
    return text if "://" in text else Path(text)


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading; what is none is refused unopened, as reading it may never end.

    Raises:
        DataError: for what is no file.
        OSError: for one that cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "of another kind")
        raise DataError(f"{path}: want a file, this is {kind}. Write its content to a file first")
    return path.open("rb")


def read_small(path: Path) -> bytes:
    """Return the bytes of a file of settings or results.

    Raises:
        DataError: for what is no file, cannot be read or is longer than 64 MiB.
    """
    try:
        with open_file(path) as raw:
            data = raw.read(SMALL_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > SMALL_BYTES:
        raise DataError(f"{path}: longer than {SMALL_BYTES:,} bytes: is it the right file?")
    return data


def parse_json(text: str | bytes, where: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        DataError: for what is none, is not UTF-8 or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}") from error


def check_output(file: Path) -> None:
    """Try where a file will be written, and leave nothing: before the work, not after it.

    Raises:
        DataError: for a folder, or where nothing can be written.
    """
    try:
        if file.is_dir():
            raise DataError(f"cannot write {file}: {file} is a folder: give the name of a file")
        if not file.parent.is_dir():
            raise DataError(f"cannot write {file}: there is no folder {file.parent}; make it first")
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name):
            pass
    except OSError as error:
        raise DataError(f"cannot write {file}: {error.strerror}") from error
