"""What was measured, as files: what ``rope-eval lab pack`` writes of a store, and ``show`` reads.

::

    runs.parquet         a row a run: its request, results and provenance, each as JSON
    lab-curve.parquet    checkpoint, method, document, length; nll (nats), hits
    lab-window.parquet   the same
    lab-retrieval.parquet    checkpoint, method, sample, length, depth; right, nll
    lab-distances.parquet    checkpoint, method, sample; distance, right, nll
    lab-attention.parquet    checkpoint, method, document, part, distance; sums, squares, counts

They are the tables of `Measured`, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rope_eval.errors import StoreError
from rope_eval.results.store import Store
from studies.scaling_laws.measured import Kind, Measured, MeasuredRun, measured_in
from studies.scaling_laws.recipes.grids import Grid

RUNS_FILE = "runs.parquet"
_JSON = ("request", "results", "provenance")
RUN_COLUMNS = ("key", "kind", "checkpoint", "method", *_JSON)
_OF = b"of the runs"
_TEXTS = ("checkpoint", "method", "part")


def open_measured(folder: Path, grid: Grid) -> Measured:
    """Return what a folder holds of a grid: tables, or else a store.

    Raises:
        StoreError: a table or the store is damaged.
    """
    if (folder / RUNS_FILE).is_file():
        return read_tables(folder)
    return measured_in(Store(folder), grid)


def read_tables(folder: Path) -> Measured:
    """Return the tables of a folder.

    Raises:
        StoreError: a table is not there or damaged, or is not of the runs.
    """
    rows = _read(folder / RUNS_FILE).to_pylist()
    runs = tuple(_run({name: row[name] for name in RUN_COLUMNS}) for row in rows)
    tables = {}
    for kind in dict.fromkeys(run.kind for run in runs):
        file = folder / f"{kind}.parquet"
        table = _read(file)
        if (table.schema.metadata or {}).get(_OF) != _digest(runs, kind):
            raise StoreError(f"{file} is not of the runs in {RUNS_FILE}: pack them again")
        tables[kind] = table.to_pandas()
    return Measured(place=folder, runs=runs, tables=tables)


def write_tables(folder: Path, measured: Measured) -> list[Path]:
    """Write the tables and return the files; files of these names are replaced.

    Of the provenance the command is left out: it is the same for many runs, and names folders.

    Args:
        folder: made if it is not there.
        measured: what to write.

    Raises:
        StoreError: a file cannot be written.
    """
    tables = {RUNS_FILE: pa.Table.from_pylist([_row(run) for run in measured.runs])}
    for kind, table in measured.tables.items():
        names = {name: "category" for name in _TEXTS if name in table}
        packed = pa.Table.from_pandas(table.astype(names), preserve_index=False)
        of_runs = {_OF: _digest(measured.runs, kind)}
        tables[f"{kind}.parquet"] = packed.replace_schema_metadata(of_runs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, packed in tables.items():
            _write(packed, folder / name)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror or error}. Give another folder"
        ) from error
    return [folder / name for name in tables]


def _row(run: MeasuredRun) -> dict[str, str]:
    return {
        name: _text(getattr(run, name)) if name in _JSON else str(getattr(run, name))
        for name in RUN_COLUMNS
    }


def _run(row: Mapping[str, str]) -> MeasuredRun:
    facts: dict[str, Any] = {name: json.loads(row[name]) for name in _JSON}
    return MeasuredRun(**{**row, "kind": Kind(row["kind"]), **facts})


def _text(facts: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in facts.items() if name != "command"}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False)


def _digest(runs: Sequence[MeasuredRun], kind: Kind) -> bytes:
    keys = " ".join(run.key for run in runs if run.kind == kind)
    return hashlib.sha256(keys.encode()).hexdigest().encode()


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
