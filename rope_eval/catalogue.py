"""The catalogue: model_configs/*.yaml, one file a family, one row a checkpoint and its RopeSpec."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.paths import asset, checkout
from rope_eval.rope.spec import RopeSpec

FAMILY_KEYS = ("family", "description", "pretrain_theta", "train_length", "size", "rows")
ROW_KEYS = ("name", "checkpoint", "weights_of", "tune_length", "rope", "paper")
CHECKPOINTS_FILE = Path("checkpoints.yaml")
OWN_DIRECTORY = Path("model_configs")

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A row of the catalogue.

    Attributes:
        name: ``family/row``.
        checkpoint: a directory or a name on the hub; None where none was released or given.
        rope: the setting, with the family's train_length and pretrain_theta in it.
        weights_of: the row that has the same checkpoint, if it is not a row's own.
        paper: where the row stands in results/paper: (size, label) by the table's name.
    """

    name: str
    checkpoint: str | None
    rope: RopeSpec
    weights_of: str | None = None
    paper: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def require_checkpoint(self) -> str:
        """Return the checkpoint; a row without one that can be read is a `DataError`."""
        if self.checkpoint is None:
            raise DataError(
                f"the checkpoint of {self.name} was {self._unreleased()}, "
                f"`{self._owner}: DIR` in {CHECKPOINTS_FILE}, or pretrained=DIR beside config=…"
            )
        if _is_path(self.checkpoint) and (obstacle := self.obstacle()):
            raise DataError(f"the checkpoint of {self.name} cannot be read: {obstacle}")
        return self.checkpoint

    def obstacle(self) -> str | None:
        """Say why this row cannot run on this machine as it is, or return None where it can.

        A name on the hub can where the hub's cache holds it whole; nothing is downloaded.
        """
        if self.checkpoint is None:
            return self._unreleased()
        directory = Path(self.checkpoint)
        if directory.is_dir():
            lacking = _lacking(directory)
            return f"{directory} has no {lacking}" if lacking else None
        if _is_path(self.checkpoint):
            if checkout() is None and directory.is_relative_to(asset("model_configs")):
                return (
                    "not in the installed package: give the directory from the repository as "
                    f"--checkpoint {self._owner}=DIR"
                )
            return f"{directory}: no such directory"
        snapshot = _cached(self.checkpoint)
        if snapshot is None or _lacking(snapshot):
            return f"{self.checkpoint} is not downloaded: the first run gets it from the hub"
        return None

    @property
    def _owner(self) -> str:
        return self.weights_of or self.name

    def _unreleased(self) -> str:
        return f"never released: give your own as --checkpoint {self._owner}=DIR"


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
        for row in _family(file):
            if row.name in rows:
                raise DataError(f"{file}: {row.name} stands twice in the catalogue")
            rows[row.name] = row
    for name in checkpoints:
        _known(name, rows)
    return {name: _with_checkpoint(row, rows, checkpoints) for name, row in rows.items()}


def find(name: str, checkpoints: Mapping[str, str] | None = None) -> ModelSpec:
    """Return the row of this name; an unknown one is a `DataError` with the nearest name.

    Args:
        name: ``family/row``.
        checkpoints: as in `load`; by default those of ``checkpoints.yaml`` in the current
            directory.
    """
    rows = load(checkpoints=read_checkpoints() if checkpoints is None else checkpoints)
    _known(name, rows)
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
        file = file or CHECKPOINTS_FILE
        entries = _yaml(file)
        if not isinstance(entries, dict) or not all(
            isinstance(part, str) for pair in entries.items() for part in pair
        ):
            raise DataError(f"{file}: expected lines of NAME: DIR, got {entries!r}")
        checkpoints = {name: _beside(file, value) for name, value in entries.items()}
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


def _family(file: Path) -> list[ModelSpec]:
    family = _yaml(file)
    _check_keys(file, family, FAMILY_KEYS, required=("family", "rows"))
    common = {k: family[k] for k in ("pretrain_theta", "train_length") if k in family}
    rows = []
    for row in family["rows"]:
        _check_keys(file, row, ROW_KEYS, required=("name",))
        name = f"{family['family']}/{row['name']}"
        rope = common | {"tune_length": row.get("tune_length")} | (row.get("rope") or {})
        checkpoint, weights_of = row.get("checkpoint"), row.get("weights_of")
        if checkpoint and weights_of:
            raise DataError(f"{file}: {name} has both checkpoint and weights_of: keep one")
        rows.append(
            ModelSpec(
                name=name,
                checkpoint=checkpoint and _beside(file, checkpoint),
                rope=RopeSpec.from_dict(rope),
                weights_of=weights_of and f"{family['family']}/{weights_of}",
                paper=_paper(file, name, family.get("size"), row.get("paper") or {}),
            )
        )
    return rows


def _paper(file: Path, name: str, size: Any, labels: Any) -> dict[str, tuple[str, str]]:
    if labels and size is None:
        raise DataError(f"{file}: {name} says paper, and the family has no size: add it")
    if not isinstance(labels, dict) or not all(isinstance(t, list) for t in labels.values()):
        raise DataError(f"{file}: paper of {name} must be labels with lists of tables: {labels!r}")
    return {
        str(table): (str(size), str(label)) for label, tables in labels.items() for table in tables
    }


def _with_checkpoint(
    row: ModelSpec, rows: Mapping[str, ModelSpec], checkpoints: Mapping[str, str]
) -> ModelSpec:
    checkpoint = checkpoints.get(row.name)
    if checkpoint is None and row.weights_of is not None:
        if row.weights_of not in rows or rows[row.weights_of].weights_of is not None:
            raise DataError(
                f"{row.name} has the weights of {row.weights_of}, which is no row with weights of "
                f"its own.{did_you_mean(row.weights_of, rows)}"
            )
        owner = rows[row.weights_of]
        checkpoint = checkpoints.get(owner.name, owner.checkpoint)
    return row if checkpoint is None else replace(row, checkpoint=checkpoint)


def _known(name: str, rows: Mapping[str, ModelSpec]) -> None:
    if name not in rows:
        raise DataError(
            f"the catalogue has no row {name!r}.{did_you_mean(name, rows)} "
            "`rope-eval list models` shows them all"
        )


def _beside(file: Path, checkpoint: str) -> str:
    """Return a directory beside the YAML file by its path, and another name as it is.

    What begins with a dot is such a directory even where it is missing.
    """
    beside = file.parent / checkpoint
    return str(beside) if beside.is_dir() or checkpoint.startswith(".") else checkpoint


def _is_path(checkpoint: str) -> bool:
    """Tell a directory from a name on the hub, which is NAME or OWNER/NAME."""
    return checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1


def _cached(name: str) -> Path | None:
    """Return the folder of a hub model in the local cache, if its config is there."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _lacking(directory: Path) -> str | None:
    """Return what a model directory has not: its config, or (a part of) its weights."""
    if not (directory / "config.json").is_file():
        return "config.json"
    for index in directory.glob("*.safetensors.index.json"):
        try:
            parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return f"readable {index.name}"
        for part in sorted(set(parts)):
            if not (directory / part).is_file():
                return str(part)
    if not any(any(directory.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        return "weights (*.safetensors or *.bin)"
    return None


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not YAML: {error}") from error


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
