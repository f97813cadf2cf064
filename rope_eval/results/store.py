"""Results: one folder a run, written whole or not at all, named by the content of its request.

::

    results/runs/<key>/run.json      request, sums and counts, provenance
    results/runs/<key>/tokens.npz    arrays, such as the score of every token

The key is a hash of everything that determines the result, so the same run asked again is read,
not recomputed, and a run is never changed in place.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from rope_eval.errors import StoreError

DEFAULT_ROOT = Path("results", "runs")

_RUN_FILE = "run.json"
_ARRAY_FILE = "tokens.npz"
_KEY_DIGITS = 16


def run_key(request: Mapping[str, Any]) -> str:
    """Return the key of a run: a hash of everything that determines its result.

    SHA-256 of the request as canonical JSON (keys sorted, whole numbers written as integers, so
    that a base of 500 and of 500.0 are one run), cut to 16 hex digits: short enough to type as a
    folder's name, and 64 bits, where a million runs meet by chance with probability 3e-8.
    ``Run`` and ``Store`` check the key against the request.

    Raises:
        StoreError: For NaN, infinity, keys that are not strings and values that are not JSON.
    """
    _require_json(dict(request), "request")
    whole = json.loads(json.dumps(dict(request)), parse_float=_whole_as_int)
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run as it is stored; its arrays are read with `Store.arrays`.

    Attributes:
        key: ``run_key(request)``.
        kind: What was run, such as "ppl"; the request says the same under "kind".
        status: "done", or "failed" with the reason in ``error``.
        request: Everything that determines the result.
        results: Sums and counts; empty where the run failed.
        provenance: How it came about: see `rope_eval.results.provenance`.
        error: Why the run failed, or None.
    """

    key: str
    kind: str
    status: Literal["done", "failed"]
    request: dict[str, Any]
    results: dict[str, Any]
    provenance: dict[str, Any]
    error: str | None = None

    def __post_init__(self) -> None:
        for name in ("request", "results", "provenance"):
            if not isinstance(getattr(self, name), dict):
                raise StoreError(f"{name} of a run: want a dict, got {getattr(self, name)!r}")
            _require_json(getattr(self, name), name)
        if self.key != run_key(self.request):
            raise StoreError(
                f"key {self.key!r} is not that of the request: want {run_key(self.request)!r}"
            )
        if self.request.get("kind") != self.kind:
            raise StoreError(
                f"a run of kind {self.kind!r}, but its request says {self.request.get('kind')!r}: "
                "two kinds would share a key"
            )
        if self.status not in ("done", "failed"):
            raise StoreError(f"status of a run: want 'done' or 'failed', got {self.status!r}")
        if (self.status == "failed") != bool(self.error):
            raise StoreError(
                f"a run with status {self.status!r} and error {self.error!r}: a failed run, and "
                "no other, has an error"
            )


class Store:
    """The runs below one folder, which is made with the first run.

    A run is written to a hidden sibling folder, flushed to the disk, and renamed: a reader sees a
    whole run or none, whenever a writer is killed. What a killed writer leaves behind is hidden
    (``.<key>.*``), never read as a run, and safe to delete once the run itself is there.

    Args:
        root: The folder of runs.
    """

    def __init__(self, root: str | Path = DEFAULT_ROOT) -> None:
        self.root = Path(root)

    def get(self, key: str) -> Run | None:
        """Return the run of this key, or None if there is none.

        Raises:
            StoreError: If the run is damaged, or the key is none.
        """
        folder = self._folder(key)
        return _read_run(folder, key) if folder else None

    def arrays(self, key: str) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a run by name, as they were given to `put`.

        Raises:
            StoreError: If there is no such run, or its arrays are damaged.
        """
        folder = self._folder(key)
        if folder is None:
            raise StoreError(f"no run {key} in {self.root}")
        try:
            with (
                (folder / _ARRAY_FILE).open("rb") as file,
                np.load(file, allow_pickle=False) as stored,
            ):
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(folder, error) from error

    def runs(self) -> Iterator[Run]:
        """Yield all runs, oldest first by the start in their provenance.

        Raises:
            StoreError: If one of the folders is damaged or no run; it is named.
        """
        with _os_errors(f"read {self.root}"):
            folders = self.root.iterdir() if self.root.is_dir() else ()
            names = [folder.name for folder in folders if folder.is_dir()]
        keys = {
            name.split(".")[1] if name.startswith(".") else name
            for name in names
            if not name.startswith(".") or name.endswith(".old")
        }
        runs = [run for key in sorted(keys) if (run := self.get(key))]
        return iter(sorted(runs, key=lambda run: str(run.provenance.get("started", ""))))

    def put(
        self,
        run: Run,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
        *,
        replace: bool = False,
    ) -> Run:
        """Store a run and return it as it now stands in the store.

        Without ``replace`` a run that is there, failed or done, stands: it is returned and
        nothing is written. So it is when another process is faster by a moment: whoever comes
        second gets the first one's run. With ``replace`` the older run stays readable until the
        new one is on the disk.

        Args:
            run: The run.
            arrays: Arrays by name, of any shape; finite where the run is done.
            replace: Put it in the place of an older one.

        Raises:
            StoreError: If it cannot be written; what was there before is still there.
        """
        if not replace and (older := self.get(run.key)):
            return older
        arrays = {name: np.asarray(array) for name, array in (arrays or {}).items()}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise StoreError(f"array {name!r}: want numbers, got Python objects")
            if run.status == "done" and array.dtype.kind in "fc" and not np.isfinite(array).all():
                raise StoreError(
                    f"array {name!r} of a done run holds NaN or infinity: store it as failed"
                )
        text = json.dumps(asdict(run), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        temporary = self.root / f".{run.key}.{uuid4().hex}.tmp"
        with _os_errors(f"write to {self.root}"):
            try:
                temporary.mkdir(parents=True)
                _write_run(temporary, text, arrays)
                placed = self._publish(temporary, run.key, replace=replace)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return Run(**json.loads(text)) if placed else self.put(run, arrays)

    def _publish(self, temporary: Path, key: str, *, replace: bool) -> bool:
        """Rename a written folder into place; False if another run stands there to stay."""
        final = self.root / key
        while True:
            # Whatever is aside before ours is in place is superseded by ours. What is moved aside
            # later may be ours: it is left to the writer that moved it.
            superseded = self._aside(key)
            try:
                temporary.rename(final)
                break
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            if not replace:
                return False
            with suppress(FileNotFoundError):  # another writer has just moved it
                final.rename(self.root / f".{key}.{time.time_ns()}.old")
        _flush_folder(self.root)
        for folder in superseded:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _folder(self, key: str) -> Path | None:
        """Find the run: in its place, or moved aside by a writer that was killed since."""
        folder = self.root / key
        if not re.fullmatch(f"[0-9a-f]{{{_KEY_DIGITS}}}", key):
            raise StoreError(f"{folder} is no run: a key is {_KEY_DIGITS} hex digits")
        with _os_errors(f"read {folder}"):
            return folder if folder.is_dir() else max(self._aside(key), default=None)

    def _aside(self, key: str) -> list[Path]:
        return list(self.root.glob(f".{key}.*.old"))


def _write_run(folder: Path, text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    with (folder / _RUN_FILE).open("xb") as file:
        file.write(text.encode())
        _flush(file)
    # What np.savez_compressed writes, but with any name for an array; no array, an empty archive.
    with (folder / _ARRAY_FILE).open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        _flush(file)
    _flush_folder(folder)


def _read_run(folder: Path, key: str) -> Run:
    try:
        text = (folder / _RUN_FILE).read_text(encoding="utf-8")
        record = json.loads(text)
        names = {field.name for field in fields(Run)}
        if not isinstance(record, dict) or set(record) != names:
            raise ValueError(f"{_RUN_FILE} has not the fields of a run")
        run = Run(**record)
        if run.key != key:
            raise ValueError(f"{_RUN_FILE} is that of the run {run.key}")
        (folder / _ARRAY_FILE).stat()
    except (OSError, ValueError, StoreError) as error:
        raise _damaged(folder, error) from error
    return run


def _damaged(folder: Path, error: Exception) -> StoreError:
    return StoreError(f"{folder}: a damaged run: {error}. Delete the folder and run it again")


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


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


def _require_json(value: object, where: str) -> None:
    """Raise StoreError unless the value is JSON that reads back as it was; say where it is not."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise StoreError(f"{where}: want strings for keys, got {key!r}")
            _require_json(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_json(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise StoreError(f"{where}: want a finite number, got {value}")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"{where}: want text that UTF-8 can hold, got {value!r}") from error
    elif not (value is None or isinstance(value, bool | int)):
        raise StoreError(f"{where}: want plain JSON values, got {type(value).__name__}: {value!r}")


def _whole_as_int(literal: str) -> int | float:
    number = float(literal)
    return int(number) if number.is_integer() else number
