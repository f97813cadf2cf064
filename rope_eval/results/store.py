"""Results: one file a run, written whole or not at all, named by the content of its request.

``results/runs/<key>.zip`` holds the request, sums and counts, provenance, and arrays such as the
score of every item (`rope_eval.results.run_file`). The key is a hash of all that determines the
result, so the same run asked again is read, not recomputed, and a run is never changed in place.
``documents/`` below it is a store of the same kind, of what runs are made of.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rope_eval.errors import StoreError
from rope_eval.files import Place
from rope_eval.results.folders import Folder
from rope_eval.results.identity import KEY_DIGITS, run_key
from rope_eval.results.remote import folder_at
from rope_eval.results.run_file import SUFFIX, DamagedError, Run, decode, decode_whole, encode
from rope_eval.safe_text import shown

__all__ = ["DEFAULT_ROOT", "Entry", "Run", "Store", "run_key"]

Arrays = dict[str, npt.NDArray[Any]]
DEFAULT_ROOT = Path("results", "runs")
DOCUMENTS = "documents"
SWEEP_SECONDS = 600.0  # no write takes so long: what is older was left behind

_KEY = re.compile(rf"[0-9a-f]{{{KEY_DIGITS}}}")
_RUN = re.compile(rf"[0-9a-f]{{{KEY_DIGITS}}}{re.escape(SUFFIX)}")
_TEMPORARY = re.compile(rf"\.[0-9a-f]{{{KEY_DIGITS}}}\.[0-9a-f]{{32}}\.tmp")


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

    path: Place
    state: Literal["ok", "damaged", "leftover", "foreign"]
    why: str = ""
    run: Run | None = None

    def __str__(self) -> str:
        return shown(f"{self.path}: {self.state}" + (f": {self.why}" if self.why else ""))


def _warn(entry: Entry) -> None:
    logging.getLogger(__name__).warning("%s. It is left out", entry)


class Store:
    """The runs below one folder, which is made with the first run.

    A run's file appears whole or not at all: a reader sees a whole run or none, whenever a writer
    is killed. What a killed writer leaves behind is never read as a run; `sweep` removes it.

    Args:
        root: the folder of runs, or its URL of fsspec (``s3://bucket/runs``).
        on_bad: called by `runs` once with each damaged or foreign entry, which is left out; by
            default it is logged as a warning, which Python shows on standard error.
        on_new: called by `put` with each run that it has stored, those of documents left out.

    Raises:
        DataError: for a URL that names no file system of this machine.
    """

    def __init__(
        self,
        root: str | Path | Folder = DEFAULT_ROOT,
        *,
        on_bad: Callable[[Entry], None] = _warn,
        on_new: Callable[[Run], None] = lambda run: None,
    ) -> None:
        self.folder = folder_at(root) if isinstance(root, str | Path) else root
        self._on_bad = on_bad
        self._on_new = on_new
        self._said: set[Place] = set()

    @property
    def root(self) -> Place:
        """Where the runs are: a path, or a URL without secrets."""
        return self.folder.root

    @property
    def documents(self) -> Store:
        """The store below this one with the scores of documents: `rope_eval.results.documents`."""
        return Store(self.folder.below(DOCUMENTS), on_bad=self._on_bad)

    def telling(self, on_new: Callable[[Run], None]) -> Store:
        """Return this store with another ``on_new``."""
        return Store(self.folder, on_bad=self._on_bad, on_new=on_new)

    def place(self, key: str) -> Place:
        """Return where the run of this key is, or would be; a text that is no key is an error."""
        return self.folder.place(self._name(key))

    def get(self, key: str) -> Run | None:
        """Return the run of this key, or None if there is none.

        Raises:
            StoreError: the run is damaged, or the key is none.
        """
        name = self._name(key)
        try:
            return self._read(name)
        except DamagedError as error:
            raise self._damaged(name, error) from error

    def whole(self, key: str) -> tuple[Run, Arrays] | None:
        """Return the run of this key and its arrays by name, its file read once; or None.

        Raises:
            StoreError: the run is damaged, or the key is none.
        """
        name = self._name(key)
        try:
            data = self.folder.read(name)
            return None if data is None else _named(name, decode_whole(data))
        except DamagedError as error:
            raise self._damaged(name, error) from error

    def arrays(self, key: str) -> Arrays:
        """Return the arrays of a run by name, as they were given to `put`.

        Raises:
            StoreError: there is no such run, or it is damaged.
        """
        if (found := self.whole(key)) is None:
            raise StoreError(f"no run {key} in {self.root}")
        return found[1]

    def have(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys under which there is a file; none is read."""
        names = set(self.folder.names())
        return {key for key in keys if self._name(key) in names}

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
        names = self.folder.names()
        contents = self.folder.read_each(name for name in names if _RUN.fullmatch(name))
        for name in names:
            path = self.folder.place(name)
            if _TEMPORARY.fullmatch(name):
                yield Entry(path=path, state="leftover", why="a run that was not finished")
            elif _RUN.fullmatch(name):
                content = next(contents)
                try:
                    if isinstance(content, DamagedError):
                        raise content
                    if content is not None:  # else another process has just removed it
                        yield Entry(path=path, state="ok", run=_decoded(name, content))
                except DamagedError as error:
                    yield Entry(path=path, state="damaged", why=str(error))
            elif not name.startswith(".") and not (
                name == DOCUMENTS and self.folder.below(name).exists()
            ):
                why = f"a run's name is {KEY_DIGITS} hex digits and {SUFFIX}"
                yield Entry(path=path, state="foreign", why=why)

    def sweep(
        self, *, older_than: float = SWEEP_SECONDS, dry_run: bool = False
    ) -> tuple[list[Place], list[Place]]:
        """Remove what killed writers left behind, here and among the documents.

        Args:
            older_than: seconds; a younger file may be one that is being written.
            dry_run: only say what would be removed.

        Returns:
            What was removed, and what was kept because it is younger, or its age is not known.

        Raises:
            StoreError: the folder cannot be read, or a file not removed.
        """
        removed: list[Place] = []
        kept: list[Place] = []
        for folder in (self.folder, self.folder.below(DOCUMENTS)):
            for name in filter(_TEMPORARY.fullmatch, folder.names()):
                age = folder.age(name)
                if age is None and name not in folder.names():
                    continue  # its writer has just given it its name
                old = age is not None and age >= older_than
                if old and not dry_run:
                    folder.remove(name)
                (removed if old else kept).append(folder.place(name))
        return removed, kept

    def require_writable(self) -> None:
        """Try to write where the runs will be, and leave nothing: before work, not after it.

        Raises:
            StoreError: nothing can be written there.
        """
        self.folder.require_writable()

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
        name = self._name(run.key)
        if not replace:
            try:
                if (there := self._read(name)) is not None:
                    return there
            except DamagedError:
                replace = True
        data = encode(run, {name: np.asarray(array) for name, array in (arrays or {}).items()})
        placed = self.folder.publish(name, data, replace=replace)
        if not placed:
            return self.put(run, arrays)
        stored = decode(data)
        self._on_new(stored)
        return stored

    def _read(self, name: str) -> Run | None:
        data = self.folder.read(name)
        return None if data is None else _decoded(name, data)

    def _name(self, key: str) -> str:
        name = f"{key}{SUFFIX}"
        if not _KEY.fullmatch(key):
            raise StoreError(
                f"{self.folder.place(name)} is no run: a key is {KEY_DIGITS} hex digits"
            )
        return name

    def _damaged(self, name: str, error: DamagedError) -> StoreError:
        return StoreError(
            f"{self.folder.place(name)}: a damaged run: {error}. Delete it, or run it again with "
            "--force"
        )


def _decoded(name: str, data: bytes) -> Run:
    return _named(name, (decode(data), {}))[0]


def _named(name: str, found: tuple[Run, Arrays]) -> tuple[Run, Arrays]:
    """Return what was found in a file; another run than the file's name says is damage."""
    run, _ = found
    if f"{run.key}{SUFFIX}" != name:
        raise DamagedError(f"it is the run {run.key}, under another name")
    return found
