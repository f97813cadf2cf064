"""A folder of runs that any URL of fsspec names: s3, gs, abfs, hf, sftp, ftp, memory and others.

Credentials come from where the file system's own package looks for them (environment, profile,
machine), and stand in no message and no record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, StoreError, did_you_mean
from rope_eval.files import Place
from rope_eval.results.folders import Folder, LocalFolder, temporary_name
from rope_eval.results.run_file import DamagedError
from rope_eval.safe_text import masked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_AT_ONCE = 32  # files that are read side by side
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf", "memory"}
"""Where a file appears when it is closed; elsewhere half files can be seen, and are renamed."""
_EXCLUSIVE = _WHOLE - {"hf"}
"""Where of many that create one file the first one alone does."""


def folder_at(root: str | Path) -> Folder:
    """Return the folder of a path or a URL.

    Raises:
        DataError: for a URL of a kind that is not known, or whose package is not installed.
    """
    text = str(root)
    if "://" not in text:
        return LocalFolder(Path(root))
    import fsspec
    from fsspec.registry import known_implementations

    protocol = text.partition("://")[0]
    if "::" in protocol:
        raise DataError(f"a store has one file system, and {masked(text)} chains several")
    known = (*known_implementations, *fsspec.available_protocols())
    if protocol not in known:
        raise DataError(
            f"no file system is known for {masked(text)}: want a folder, or a URL such as "
            f"s3://bucket/runs.{did_you_mean(protocol, known)}"
        )
    try:
        system, base = fsspec.url_to_fs(text)
    except ImportError as error:
        raise DataError(
            f"{protocol}:// needs a package that is not installed: `pip install {_missing(error)}`"
        ) from error
    except Exception as error:
        raise _refused(f"open {masked(text)}", error) from error
    if protocol in ("file", "local"):
        return LocalFolder(Path(base))
    return RemoteFolder(system, base, masked(text).rstrip("/"), protocol)


class RemoteFolder:
    """A folder of an fsspec file system.

    On object stores a file is written by one request, and there whole or not at all; without
    ``replace`` the first of several writers stands. Elsewhere it is written under a hidden name
    and moved, and of two writers at the same moment the last one stands.

    Args:
        system: the file system.
        base: the folder's path on it.
        root: its URL without secrets.
        protocol: of the URL.
    """

    def __init__(
        self,
        system: AbstractFileSystem,
        base: str,
        root: str,
        protocol: str,
        lock: threading.RLock | None = None,
    ) -> None:
        self.root: Place = root
        self._system = system
        self._base = base.rstrip("/")
        self._protocol = protocol
        self._lock = lock or threading.RLock()  # connections of ftp and sftp are one thread's

    @property
    def is_exclusive(self) -> bool:
        """Whether of several writers of a new file the first one stands, whatever the moment."""
        return self._protocol in _EXCLUSIVE

    def below(self, name: str) -> RemoteFolder:
        """Return the folder of this name in it."""
        return RemoteFolder(
            self._system, self._path(name), str(self.place(name)), self._protocol, self._lock
        )

    def place(self, name: str) -> str:
        """Return the URL of a file of it."""
        return f"{self.root}/{name}"

    def exists(self) -> bool:
        """Tell whether it is there; that of an object store is where something is in it."""
        with self._reached("read"):
            return bool(self._system.isdir(self._base))

    def names(self) -> list[str]:
        """Return what is in it, sorted."""
        with self._reached("read"):
            try:
                paths = self._system.ls(self._base, detail=False)
            except FileNotFoundError:
                return []
        inner = (path.strip("/") for path in paths)  # some list the folder itself as well
        return sorted({path.rpartition("/")[2] for path in inner if path != self._base.strip("/")})

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None where it is not there; `DamagedError` where it has none."""
        (found,) = self.read_each([name])
        if isinstance(found, DamagedError):
            raise found
        return found

    def read_each(self, names: Iterable[str]) -> Iterator[bytes | DamagedError | None]:
        """Yield what `read` returns or raises for each of them, some read side by side."""
        paths = [self._path(name) for name in names]
        for first in range(0, len(paths), _AT_ONCE):
            some = paths[first : first + _AT_ONCE]
            with self._reached("read"):
                all_of_it = [None] * len(some)
                found = self._system.cat_ranges(some, all_of_it, all_of_it, on_error="return")
            yield from map(self._content, found)

    def publish(self, name: str, data: bytes, *, replace: bool) -> bool:
        """Make a file at once; False where one is there, which stays unless it is replaced."""
        with self._reached("write to"):
            if self._protocol in _WHOLE:
                return self._create(self._path(name), data, replace)
            if not replace and self._system.exists(self._path(name)):
                return False
            self._move_in(name, data)
        return True

    def age(self, name: str) -> float | None:
        """Return the seconds since a file was written; None where that is not known."""
        with self._reached("read"):
            try:
                written = self._system.modified(self._path(name))
            except (FileNotFoundError, NotImplementedError):
                return None
        aware = written if written.tzinfo else written.replace(tzinfo=UTC)
        return (datetime.now(UTC) - aware).total_seconds()

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""
        with self._reached("write to"), suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    def require_writable(self) -> None:
        """Try to write, and leave nothing."""
        probe = temporary_name("probe")
        self.publish(probe, b"", replace=True)
        self.remove(probe)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _create(self, path: str, data: bytes, replace: bool) -> bool:
        if replace:
            self._system.pipe_file(path, data)
            return True
        try:
            self._system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except Exception:  # a server that says in another way that it is there
            if self._system.exists(path):
                return False
            raise
        return True

    def _move_in(self, name: str, data: bytes) -> None:
        temporary = self._path(temporary_name(name))
        self._make()
        try:
            self._system.pipe_file(temporary, data)
            self._system.mv(temporary, self._path(name))
        except BaseException:
            with suppress(Exception):  # left behind, for `Store.sweep`
                self._system.rm_file(temporary)
            raise

    def _make(self) -> None:
        for _ in self._base.split("/"):  # at each of them another process may be faster
            with suppress(Exception):
                self._system.makedirs(self._base, exist_ok=True)
                return
            self._system.invalidate_cache()
        self._system.makedirs(self._base, exist_ok=True)

    def _content(self, found: Any) -> bytes | DamagedError | None:
        if isinstance(found, IsADirectoryError):
            return DamagedError("it is no file")
        if isinstance(found, FileNotFoundError):
            return None
        if isinstance(found, Exception):
            raise _refused(f"read {self.root}", found) from found
        return bytes(found)

    @contextmanager
    def _reached(self, attempt: str) -> Iterator[None]:
        with self._lock:
            try:
                self._system.invalidate_cache()  # others write here too
                yield
            except Exception as error:  # every package has its own
                raise _refused(f"{attempt} {self.root}", error) from error


def _missing(error: ImportError) -> str:
    """Return what to install; two packages go with one version of fsspec each."""
    import fsspec

    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    name = (cause.name or str(error)).partition(".")[0]
    return f"{name}=={fsspec.__version__}" if name in ("s3fs", "gcsfs") else name


def _refused(attempt: str, error: Exception) -> StoreError:
    why = masked(" ".join(str(error).split())).rstrip(".") or type(error).__name__
    return StoreError(
        f"cannot {attempt}: {why}. Check the address, the credentials in the environment and the "
        "network"
    )
