"""Where runs lie: what a store asks of a folder, and the folder of a file system."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from rope_eval.errors import StoreError
from rope_eval.files import Place
from rope_eval.results.run_file import DamagedError

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Folder(Protocol):
    """A folder of files that appear whole or not at all.

    Every method raises `StoreError` where the folder cannot be reached.
    """

    @property
    def root(self) -> Place:
        """Where it is, without secrets."""
        ...

    def below(self, name: str) -> Folder:
        """Return the folder of this name in it."""
        ...

    def place(self, name: str) -> Place:
        """Return where a file of it is."""
        ...

    def exists(self) -> bool:
        """Tell whether it is there."""
        ...

    def names(self) -> list[str]:
        """Return what is in it, sorted; nothing where it is not there."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where it is not there; `DamagedError` where it has none."""
        ...

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | DamagedError | None]:
        """Yield what `read` returns or raises for each of them."""
        ...

    def publish(self, name: str, data: bytes, *, replace: bool) -> bool:
        """Make a file at once; False where one is there, which stays unless it is replaced."""
        ...

    def age(self, name: str) -> float | None:
        """Return the seconds since a file was written; None where that is not known."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""
        ...

    def require_writable(self) -> None:
        """Try to write, and leave nothing."""
        ...


def temporary_name(name: str) -> str:
    """Return a hidden name of its own for a file that is being written."""
    return f".{name.partition('.')[0]}.{uuid4().hex}.tmp"


class LocalFolder:
    """A folder of a file system, which is made with the first file.

    A file is written under a hidden name, flushed to the disk, and then named: a reader sees a
    whole one or none, whenever a writer is killed.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def below(self, name: str) -> LocalFolder:
        """Return the folder of this name in it."""
        return LocalFolder(self.root / name)

    def place(self, name: str) -> Path:
        """Return the path of a file of it."""
        return self.root / name

    def exists(self) -> bool:
        """Tell whether it is there."""
        try:
            return self.root.is_dir()
        except (OSError, ValueError):  # a name that no file system takes
            return False

    def names(self) -> list[str]:
        """Return what is in it, sorted."""
        with _os_errors(f"read {self.root}"):
            return sorted(p.name for p in self.root.iterdir()) if self.root.exists() else []

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where it is not there; `DamagedError` where it has none."""
        path = self.root / name
        with _os_errors(f"read {path}"):
            if not os.path.lexists(path):
                return None
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DamagedError("it is no file")
            return path.read_bytes()
        except OSError as error:
            if not os.path.lexists(path):  # another process has just removed it
                return None
            raise DamagedError(f"it cannot be read: {error.strerror or error}") from error

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | DamagedError | None]:
        """Yield what `read` returns or raises for each of them."""
        for name in names:
            try:
                yield self.read(name)
            except DamagedError as error:
                yield error

    def publish(self, name: str, data: bytes, *, replace: bool) -> bool:
        """Make a file at once; on a file system without hard links a second one stands."""
        temporary = self.root / temporary_name(name)
        with _os_errors(f"write to {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                write(temporary, data)
                placed = _give_name(temporary, self.root / name, replace=replace)
            finally:
                with suppress(OSError):  # left behind, for `Store.sweep`
                    temporary.unlink()
            _flush_folder(self.root)
        return placed

    def age(self, name: str) -> float | None:
        """Return the seconds since a file was written; None where it is gone."""
        with _os_errors(f"read {self.root}"):
            try:
                return time.time() - (self.root / name).lstat().st_mtime
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""
        with _os_errors(f"sweep {self.root}"):
            (self.root / name).unlink(missing_ok=True)

    def require_writable(self) -> None:
        """Try to write, and leave nothing."""
        folder = self.root
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with _os_errors(f"write to {self.root}"), tempfile.TemporaryFile(dir=folder):
            pass


def write(path: Path, data: bytes) -> None:
    """Write a file that is not there, and flush it to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _give_name(temporary: Path, path: Path, *, replace: bool) -> bool:
    """Give a written file its name; False if another one has it, and stays."""
    if not replace:
        try:
            path.hardlink_to(temporary)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
    temporary.replace(path)
    return True


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _os_errors(attempt: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {attempt}: {error.strerror or error}. Check the folder's permissions and free "
            "space, or give another folder"
        ) from error
