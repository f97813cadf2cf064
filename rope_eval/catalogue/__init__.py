"""The catalogue: model_configs/*.yaml, one file a family, one row a checkpoint and its RopeSpec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rope_eval.catalogue.files import read_family, read_places
from rope_eval.catalogue.rows import CHECKPOINTS_FILE, ModelSpec
from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.paths import asset

__all__ = ["ModelSpec", "find", "load", "read_checkpoints"]

OWN_DIRECTORY = Path("model_configs")

_NONE: Mapping[str, str] = MappingProxyType({})


def load(
    directory: Path | None = None, checkpoints: Mapping[str, str] = _NONE
) -> dict[str, ModelSpec]:
    """Return every row of the catalogue by its name, in the files' order.

    Args:
        directory: of the YAML files; by default the package's own and ``model_configs/`` in the
            current directory, whose file wins over one of the package's with the same name.
        checkpoints: checkpoints by the name of a row, in the place of the row's own; they serve
            the rows that have the same weights too.

    Raises:
        DataError: for a file that is not as documented, naming it, or an unknown name.
        SpecError: for a RoPE setting that makes no sense.
    """
    rows: dict[str, ModelSpec] = {}
    for file in _files(
        [directory] if directory else [asset("model_configs"), OWN_DIRECTORY.resolve()]
    ):
        for row in read_family(file):
            if row.name in rows:
                raise DataError(f"{file}: {row.name} stands twice in the catalogue")
            rows[row.name] = row
    for name in checkpoints:
        _check_known(name, rows, f"{CHECKPOINTS_FILE} or --checkpoint gives a checkpoint: ")
    return {name: _with_checkpoint(row, rows, checkpoints) for name, row in rows.items()}


def find(name: str, checkpoints: Mapping[str, str] | None = None) -> ModelSpec:
    """Return the row of this name; an unknown one is a `DataError` with the nearest name.

    Args:
        name: ``family/row``.
        checkpoints: as in `load`; by default those of ``checkpoints.yaml`` in the current
            directory.
    """
    rows = load(checkpoints=read_checkpoints() if checkpoints is None else checkpoints)
    _check_known(name, rows)
    return rows[name]


def read_checkpoints(file: Path | None = None, pairs: Iterable[str] = ()) -> dict[str, str]:
    """Return checkpoints by the name of a row, as a file and the command line give them.

    Args:
        file: YAML, a row's name and its directory (relative to the file) or name on the hub; by
            default ``checkpoints.yaml`` in the current directory, where there is one.
        pairs: ``NAME=DIR``; they win over the file.

    Raises:
        DataError: for a file that cannot be read or is no such mapping.
        SpecError: for a pair that is not written NAME=DIR.
    """
    checkpoints: dict[str, str] = {}
    if file is not None or CHECKPOINTS_FILE.is_file():
        checkpoints = read_places(file or CHECKPOINTS_FILE)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise SpecError(f"--checkpoint is written NAME=DIR, got {pair!r}")
        checkpoints[name] = value
    return checkpoints


def _files(directories: Iterable[Path]) -> list[Path]:
    """Return the YAML files by their names; a later directory's wins over an earlier one's."""
    files = {file.name: file for folder in directories for file in sorted(folder.glob("*.yaml"))}
    return list(files.values())


def _with_checkpoint(
    row: ModelSpec, rows: Mapping[str, ModelSpec], checkpoints: Mapping[str, str]
) -> ModelSpec:
    """Return the row with the checkpoint given for it, or for the row whose weights it has."""
    checkpoint = checkpoints.get(row.name)
    if checkpoint is None and row.weights_of is not None:
        checkpoint = checkpoints.get(row.weights_of, rows[row.weights_of].checkpoint)
    return row if checkpoint is None else replace(row, checkpoint=checkpoint)


def _check_known(name: str, rows: Mapping[str, ModelSpec], why: str = "") -> None:
    if name not in rows:
        raise DataError(
            f"{why}the catalogue has no row {name!r}.{did_you_mean(name, rows)} "
            "`rope-eval list models` shows them all"
        )
