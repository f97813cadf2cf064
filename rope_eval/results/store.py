"""Results: one file a run, written whole or not at all, named by the content of its request.

``results/runs/<key>.zip`` holds the request, sums and counts, provenance, and arrays such as the
score of every item (`rope_eval.results.run_file`). The key is a hash of all that determines the
result, so the same run asked again is read, not recomputed, and a run is never changed in place.
``documents/`` below it is a store of the same kind, of what runs are made of.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from rope_eval.errors import StoreError
from rope_eval.results.identity import KEY_DIGITS, run_key
from rope_eval.results.run_file import SUFFIX, DamagedError, Run, decode, decode_arrays, encode
from rope_eval.safe_text import shown

__all__ = ["DEFAULT_ROOT", "Entry", "Run", "Store", "run_key"]

DEFAULT_ROOT = Path("results", "runs")
DOCUMENTS = "documents"
SWEEP_SECONDS = 600.0  # no write takes so long: what is older was left behind

_KEY = re.compile(rf"[0-9a-f]{{{KEY_DIGITS}}}")
_RUN = re.compile(rf"[0-9a-f]{{{KEY_DIGITS}}}{re.escape(SUFFIX)}")
_TEMPORARY = re.compile(rf"\.[0-9a-f]{{{KEY_DIGITS}}}\.[0-9a-f]{{32}}\.tmp")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What lies in the folder of runs.

    Attributes:
        path: its place.
        state: "ok"; "damaged", a run's name without a whole run; "leftover", of a writer that was
            killed or still writes; "foreign", what no writer of ours makes.
        why: what is wrong with it, or empty.
        run: the run, where it is ok.
    """

    path: Path
    state: Literal["ok", "damaged", "leftover", "foreign"]
    why: str = ""
    run: Run | None = None

    def __str__(self) -> str:
        return shown(f"{self.path}: {self.state}" + (f": {self.why}" if self.why else ""))


def _warn(entry: Entry) -> None:
    logging.getLogger(__name__).warning("%s. It is left out", entry)


class Store:
    """The runs below one folder, which is made with the first run.

    A run is written to a hidden file beside its place, flushed to the disk, and then given its
    name: a reader sees a whole run or none, whenever a writer is killed. What a killed writer
    leaves behind is never read as a run; `sweep` removes it.

    Args:
        root: the folder of runs.
        on_bad: called by `runs` once with each damaged or foreign entry, which is left out; by
            default it is logged as a warning, which Python shows on standard error.
    """

    def __init__(
        self, root: str | Path = DEFAULT_ROOT, *, on_bad: Callable[[Entry], None] = _warn
    ) -> None:
        self.root = Path(root)
        self._on_bad = on_bad
        self._said: set[Path] = set()

    @property
    def documents(self) -> Store:
        """The store below this one with the scores of documents: `rope_eval.results.documents`."""
        return Store(self.root / DOCUMENTS, on_bad=self._on_bad)

    def place(self, key: str) -> Path:
        """Return where the run of this key is, or would be; a text that is no key is an error."""
        path = self.root / f"{key}{SUFFIX}"
        if not _KEY.fullmatch(key):
            raise StoreError(f"{path} is no run: a key is {KEY_DIGITS} hex digits")
        return path

    def get(self, key: str) -> Run | None:
        """Return the run of this key, or None if there is none.

        Raises:
            StoreError: the run is damaged, or the key is none.
        """
        path = self.place(key)
        return _checked(path) if _exists(path) else None

    def arrays(self, key: str) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a run by name, as they were given to `put`.

        Raises:
            StoreError: there is no such run, or it is damaged.
        """
        path = self.place(key)
        if not _exists(path):
            raise StoreError(f"no run {key} in {self.root}")
        try:
            return decode_arrays(_bytes(path))
        except DamagedError as error:
            raise _damaged(path, error) from error

    def runs(self) -> Iterator[Run]:
        """Yield all runs, oldest first by the start in their provenance.

        Damaged and foreign entries are left out and given to ``on_bad``.

        Raises:
            StoreError: the folder cannot be read.
        """
        runs = []
        for entry in self.entries():
            if entry.run is not None:
                runs.append(entry.run)
            elif entry.state in ("damaged", "foreign"):
                self._leave_out(entry)
        return iter(sorted(runs, key=lambda run: str(run.provenance.get("started", ""))))

    def leave_out(self, key: str, why: str) -> None:
        """Report a run that is whole and that a reader can make nothing of, as `runs` does."""
        self._leave_out(Entry(path=self.place(key), state="foreign", why=why))

    def _leave_out(self, entry: Entry) -> None:
        if entry.path not in self._said:
            self._said.add(entry.path)
            self._on_bad(entry)

    def entries(self) -> Iterator[Entry]:
        """Yield what is in the folder, by name; hidden files that are not ours are passed over.

        The documents are passed over too: they are those of `documents`.

        Raises:
            StoreError: the folder cannot be read.
        """
        with _os_errors(f"read {self.root}"):
            names = sorted(p.name for p in self.root.iterdir()) if self.root.exists() else []
        for name in names:
            path = self.root / name
            if _TEMPORARY.fullmatch(name):
                yield Entry(path=path, state="leftover", why="a run that was not finished")
            elif _RUN.fullmatch(name):
                try:
                    yield Entry(path=path, state="ok", run=_read(path))
                except DamagedError as error:
                    if _exists(path):  # else another process has just removed it
                        yield Entry(path=path, state="damaged", why=str(error))
            elif not name.startswith(".") and not (name == DOCUMENTS and path.is_dir()):
                why = f"a run's name is {KEY_DIGITS} hex digits and {SUFFIX}"
                yield Entry(path=path, state="foreign", why=why)

    def sweep(
        self, *, older_than: float = SWEEP_SECONDS, dry_run: bool = False
    ) -> tuple[list[Path], list[Path]]:
        """Remove what killed writers left behind, here and among the documents.

        Args:
            older_than: seconds; a younger file may be one that is being written.
            dry_run: only say what would be removed.

        Returns:
            What was removed, and what was kept because it is younger.

        Raises:
            StoreError: the folder cannot be read, or a file not removed.
        """
        removed: list[Path] = []
        kept: list[Path] = []
        with _os_errors(f"sweep {self.root}"):
            for entry in chain(self.entries(), self.documents.entries()):
                if entry.state != "leftover":
                    continue
                try:
                    old = time.time() - entry.path.lstat().st_mtime >= older_than
                    if old and not dry_run:
                        entry.path.unlink()
                except FileNotFoundError:
                    continue  # its writer has just given it its name
                (removed if old else kept).append(entry.path)
        return removed, kept

    def require_writable(self) -> None:
        """Try to write where the runs will be, and leave nothing: before work, not after it.

        Raises:
            StoreError: nothing can be written there.
        """
        folder = self.root
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with _os_errors(f"write to {self.root}"), tempfile.TemporaryFile(dir=folder):
            pass

    def put(
        self,
        run: Run,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
        *,
        replace: bool = False,
    ) -> Run:
        """Store a run and return it as it now stands in the store.

        Without ``replace`` a whole run that is there, failed or done, stands: it is returned and
        nothing is written. So it is when another process is faster by a moment: whoever comes
        second gets the first one's run (on a file system without hard links the last stands). A
        damaged one gives way. With ``replace`` the older run stays readable until the new one is
        on the disk.

        Args:
            run: the run.
            arrays: arrays by name, of any shape; finite where the run is done.
            replace: put it in the place of an older one.

        Raises:
            StoreError: it cannot be written; what was there before is still there.
        """
        path = self.place(run.key)
        if not replace and _exists(path):
            try:
                return _checked(path)
            except StoreError:
                replace = True
        data = encode(run, {name: np.asarray(array) for name, array in (arrays or {}).items()})
        temporary = self.root / f".{run.key}.{uuid4().hex}.tmp"
        with _os_errors(f"write to {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                _write(temporary, data)
                placed = _publish(temporary, path, replace=replace)
            finally:
                with suppress(OSError):  # left behind, for `sweep`
                    temporary.unlink()
            _flush_folder(self.root)
        return decode(data) if placed else self.put(run, arrays)


def _publish(temporary: Path, path: Path, *, replace: bool) -> bool:
    """Give a written file its name; False if another run has it, and stays."""
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


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists(path: Path) -> bool:
    with _os_errors(f"read {path}"):
        return os.path.lexists(path)


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DamagedError("it is no file")
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"it cannot be read: {error.strerror or error}") from error


def _read(path: Path) -> Run:
    run = decode(_bytes(path))
    if run.key != path.stem:
        raise DamagedError(f"it is the run {run.key}, under another name")
    return run


def _checked(path: Path) -> Run:
    try:
        return _read(path)
    except DamagedError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: DamagedError) -> StoreError:
    return StoreError(f"{path}: a damaged run: {error}. Delete it, or run it again with --force")


@contextmanager
def _os_errors(attempt: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {attempt}: {error.strerror or error}. Check the folder's permissions and free "
            "space, or give another folder"
        ) from error
