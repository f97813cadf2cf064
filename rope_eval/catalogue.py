"""The catalogue: model_configs/*.yaml, one file a family, one row a checkpoint and its RopeSpec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rope_eval.errors import DataError, did_you_mean
from rope_eval.paths import asset
from rope_eval.rope.spec import RopeSpec

FAMILY_KEYS = ("family", "description", "pretrain_theta", "train_length", "rows")
ROW_KEYS = ("name", "checkpoint", "tune_length", "rope")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A row of the catalogue.

    Attributes:
        name: ``family/row``.
        checkpoint: a directory or a name on the hub; None where it was never released.
        rope: the setting, with the family's train_length and pretrain_theta in it.
    """

    name: str
    checkpoint: str | None
    rope: RopeSpec

    def require_checkpoint(self) -> str:
        """Return the checkpoint; a row without one is a `DataError`."""
        if self.checkpoint is None:
            raise DataError(
                f"the checkpoint of {self.name} was never released: give your own as "
                "pretrained=DIR beside config=…"
            )
        return self.checkpoint


def load(directory: Path | None = None) -> dict[str, ModelSpec]:
    """Return every row of the catalogue by its name, in the files' order.

    Args:
        directory: of the YAML files; by default the package's own.

    Raises:
        DataError: for a file that is not as documented, naming it.
        SpecError: for a RoPE setting that makes no sense.
    """
    rows: dict[str, ModelSpec] = {}
    for file in sorted((directory or asset("model_configs")).glob("*.yaml")):
        try:
            family: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise DataError(f"{file} is not YAML: {error}") from error
        _check_keys(file, family, FAMILY_KEYS, required=("family", "rows"))
        common = {k: family[k] for k in ("pretrain_theta", "train_length") if k in family}
        for row in family["rows"]:
            _check_keys(file, row, ROW_KEYS, required=("name",))
            name = f"{family['family']}/{row['name']}"
            if name in rows:
                raise DataError(f"{file}: {name} stands twice in the catalogue")
            rope = common | {"tune_length": row.get("tune_length")} | (row.get("rope") or {})
            rows[name] = ModelSpec(
                name=name,
                checkpoint=_checkpoint(file, row.get("checkpoint")),
                rope=RopeSpec.from_dict(rope),
            )
    return rows


def find(name: str) -> ModelSpec:
    """Return the row of this name; an unknown one is a `DataError` with the nearest name."""
    rows = load()
    if name not in rows:
        raise DataError(
            f"the catalogue has no row {name!r}.{did_you_mean(name, rows)} "
            "`rope-eval list` shows them all"
        )
    return rows[name]


def _checkpoint(file: Path, checkpoint: str | None) -> str | None:
    """Return a directory beside the YAML file by its path, and another name as it is."""
    if checkpoint is not None and (beside := file.parent / checkpoint).is_dir():
        return str(beside)
    return checkpoint


def _check_keys(
    file: Path, entry: Any, known: tuple[str, ...], *, required: tuple[str, ...]
) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{file}: expected a mapping with {', '.join(known)}, got {entry!r}")
    for key in entry:
        if key not in known:
            raise DataError(f"{file}: unknown key {key!r}.{did_you_mean(str(key), known)}")
    for key in required:
        if key not in entry:
            raise DataError(f"{file}: {key} is missing in {entry.get('name', 'the family')}")
