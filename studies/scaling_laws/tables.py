"""Measurements as tables: what ``rope-eval lab pack`` writes of a store, and ``show`` reads.

::

    runs.parquet         a row a run: its request, results and provenance, each as JSON
    lab-curve.parquet    checkpoint, method, document, length; nll (nats), hits
    lab-window.parquet   the same
    lab-retrieval.parquet    checkpoint, method, sample, length, depth; right, nll
    lab-attention.parquet    checkpoint, method, document, part, distance; sums, squares, counts

A table has a run after another, in the order of ``runs.parquet``, and each run's arrays in C order:
read by `Tables` they are those of the store, bit for bit, and by pandas they are a frame.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rope_eval.errors import StoreError
from rope_eval.results.store import Run, Store
from studies.scaling_laws.measurements import Kind

RUNS_FILE = "runs.parquet"

PARTS = ("before", "beyond")
"""The dimensions before the critical one, and those from it on: axis 1 of attention's sums."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What the arrays of a kind are over.

    Attributes:
        axes: names of the axes.
        arrays: names of the arrays that have all of them.
        of_the_last: names of those that have the last one alone: repeated along the others.
    """

    axes: tuple[str, ...]
    arrays: tuple[str, ...]
    of_the_last: tuple[str, ...] = ()


LAYOUTS: Mapping[Kind, Layout] = MappingProxyType(
    {
        Kind.CURVE: Layout(axes=("document", "length"), arrays=("nll", "hits")),
        Kind.WINDOW: Layout(axes=("document", "length"), arrays=("nll", "hits")),
        Kind.RETRIEVAL: Layout(axes=("sample", "length", "depth"), arrays=("right", "nll")),
        Kind.ATTENTION: Layout(
            axes=("document", "part", "distance"),
            arrays=("sums", "squares"),
            of_the_last=("counts",),
        ),
    }
)


class Tables:
    """Packed runs, read as from a `Store`.

    Args:
        root: folder that `write_tables` has written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tables: dict[Kind, tuple[dict[str, npt.NDArray[Any]], dict[str, int]]] = {}

    def runs(self) -> Iterator[Run]:
        """Yield all runs in the order that they were packed in.

        Raises:
            StoreError: the table is damaged.
        """
        return iter(self._runs.values())

    def arrays(self, key: str) -> dict[str, npt.NDArray[Any]]:
        """Return a run's arrays by name, as they were measured.

        Raises:
            StoreError: there is no such run, or its table is damaged.
        """
        if key not in self._runs:
            raise StoreError(f"no run {key} in {self.root}")
        kind, shape = Kind(self._runs[key].kind), _shape(self._runs[key])
        if kind not in self._tables:
            self._tables[kind] = self._table(kind)
        columns, begins = self._tables[kind]
        rows = slice(begins[key], begins[key] + math.prod(shape))
        whole = {name: column[rows].reshape(shape) for name, column in columns.items()}
        first = (0,) * (len(shape) - 1)
        repeated = LAYOUTS[kind].of_the_last
        return {name: array[first] if name in repeated else array for name, array in whole.items()}

    @cached_property
    def _runs(self) -> dict[str, Run]:
        rows = _read(self.root / RUNS_FILE).to_pylist()
        facts = [
            {"key": row["key"], "kind": row["kind"]}
            | {name: json.loads(row[name]) for name in _TEXTS}
            for row in rows
        ]
        return {fact["key"]: Run(status="done", **fact) for fact in facts}

    def _table(self, kind: Kind) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]]:
        """Return a kind's columns of numbers, and each run's first row in them."""
        file = self.root / f"{kind}.parquet"
        table = _read(file)
        runs = [run for run in self._runs.values() if run.kind == kind]
        if (table.schema.metadata or {}).get(_OF) != _digest(runs):
            raise StoreError(f"{file} is not of the runs in {RUNS_FILE}: pack them again")
        ends = accumulate(math.prod(_shape(run)) for run in runs)
        begins = dict(zip((run.key for run in runs), (0, *ends), strict=False))
        layout = LAYOUTS[kind]
        names = (*layout.arrays, *layout.of_the_last)
        return {name: table[name].to_numpy() for name in names}, begins


def open_runs(folder: Path) -> Store | Tables:
    """Return what a folder holds: tables, or else a store."""
    return Tables(folder) if (folder / RUNS_FILE).is_file() else Store(folder)


def write_tables(folder: Path, runs: Sequence[Run], source: Store | Tables) -> list[Path]:
    """Write runs as tables and return the files; files of these names are replaced.

    Of the provenance the command is left out: it is the same for many runs, and names folders.

    Args:
        folder: made if it is not there.
        runs: done ones, in the order to keep.
        source: what has their arrays.

    Raises:
        StoreError: an array has not the shape that its request says, or a file cannot be written.
    """
    facts = [
        {"key": run.key, "kind": run.kind, **_names(run)}
        | {name: _text(getattr(run, name)) for name in _TEXTS}
        for run in runs
    ]
    tables = {RUNS_FILE: pa.Table.from_pylist(facts)}
    for kind in Kind:
        some = [run for run in runs if run.kind == kind]
        if some:
            tables[f"{kind}.parquet"] = _packed(kind, some, source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            _write(table, folder / name)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}. Give another folder"
        ) from error
    return [folder / name for name in tables]


_TEXTS = ("request", "results", "provenance")
_OF = b"of the runs"


def _packed(kind: Kind, runs: Sequence[Run], source: Store | Tables) -> pa.Table:
    layout = LAYOUTS[kind]
    parts = [_frame(run, layout, source.arrays(run.key)) for run in runs]
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return table.replace_schema_metadata({_OF: _digest(runs)})


def _frame(run: Run, layout: Layout, arrays: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
    """Return one run's rows."""
    shape = _shape(run)
    rows = math.prod(shape)
    columns: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), [value])
        for name, value in _names(run).items()
    }
    for places, name in zip(np.indices(shape), layout.axes, strict=True):
        columns[name] = pa.array(_axis(run, name)).take(pa.array(places.ravel()))
    for name in (*layout.arrays, *layout.of_the_last):
        wanted = shape[-1:] if name in layout.of_the_last else shape
        array = arrays.get(name)
        if array is None or array.shape != wanted:
            found = "is missing" if array is None else f"has the shape {array.shape}"
            raise StoreError(f"run {run.key}: its array {name!r} {found}, want {wanted}")
        columns[name] = np.broadcast_to(array, shape).ravel()
    return pa.table(columns)


def _names(run: Run) -> dict[str, str]:
    return {name: run.request[name] for name in ("checkpoint", "method")}


def _axis(run: Run, name: str) -> list[Any]:
    """Return the values along an axis, as the request says them."""
    request = run.request
    if name == "document":
        documents = len(request["pieces"]) if "pieces" in request else request["text"]["documents"]
        return list(range(documents))
    if name == "sample":
        return list(range(request["samples"]))
    if name == "part":
        return list(PARTS)
    if name == "distance":  # the least one of its bin
        return list(request["bin_edges"][:-1])
    return list(request[{"length": "lengths", "depth": "depths"}[name]])


def _shape(run: Run) -> tuple[int, ...]:
    return tuple(len(_axis(run, name)) for name in LAYOUTS[Kind(run.kind)].axes)


def _text(facts: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in facts.items() if name != "command"}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False)


def _digest(runs: Sequence[Run]) -> bytes:
    return hashlib.sha256(" ".join(run.key for run in runs).encode()).hexdigest().encode()


def _write(table: pa.Table, file: Path) -> None:
    """Write a table whole or not at all; scores compress best with their bytes apart."""
    apart = [f.name for f in table.schema if pa.types.is_floating(f.type) or f.name == "hits"]
    partial = file.with_name(f".{file.name}.partial")
    pq.write_table(
        table,
        partial,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in apart],
        column_encoding=dict.fromkeys(apart, "BYTE_STREAM_SPLIT") or None,
        row_group_size=1 << 21,
    )
    partial.replace(file)


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
