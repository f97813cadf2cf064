"""A row of the catalogue: a checkpoint and its RoPE setting, and whether it can run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError
from rope_eval.files import parse_json, read_small
from rope_eval.paths import asset, checkout, is_directory
from rope_eval.rope.spec import RopeSpec

CHECKPOINTS_FILE = Path("checkpoints.yaml")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A row of the catalogue.

    Attributes:
        name: ``family/row``.
        checkpoint: a directory or a name on the hub; None where none was released or given.
        fields: RopeSpec's, as the files give them, those of the family and of the weights too.
        weights_of: the row that has the same checkpoint, if it is not a row's own.
        source: who says how the checkpoint was made.
        paper: where the row stands in results/paper: (size, label) by the table's name.
        rope: the setting that `fields` make.

    Raises:
        SpecError: for a RoPE setting that makes no sense.
    """

    name: str
    checkpoint: str | None
    fields: Mapping[str, Any]
    weights_of: str | None = None
    source: str | None = None
    paper: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rope: RopeSpec = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rope", RopeSpec.from_dict(self.fields))

    def matches(self, text: str) -> bool:
        """Tell whether a text stands in the name, the checkpoint, the setting or the source.

        A text with ``*``, ``?`` or ``[`` is a pattern of one of them as a whole.
        """
        said = (self.name, self.checkpoint or "", str(self.rope), self.source or "")
        pattern = text if set(text) & set("*?[") else f"*{text}*"
        return any(fnmatchcase(some.lower(), pattern.lower()) for some in said)

    def require_checkpoint(self) -> str:
        """Return the checkpoint; a row without one that can be read is a `DataError`."""
        if self.checkpoint is None:
            raise DataError(
                f"the checkpoint of {self.name} was {self._unreleased()}, or --model DIR beside "
                "--config (pretrained=DIR beside config=)"
            )
        if _is_path(self.checkpoint) and (obstacle := self.obstacle()):
            raise DataError(f"the checkpoint of {self.name} cannot be read: {obstacle}")
        return self.checkpoint

    @property
    def absence(self) -> str | None:
        """Why this row has no checkpoint to be tried, or None: a name on the hub can be tried."""
        if self.checkpoint is None:
            return self._unreleased()
        return self.obstacle() if _is_path(self.checkpoint) else None

    def obstacle(self) -> str | None:
        """Say why this row cannot run on this machine as it is, or return None where it can.

        A name on the hub can where the hub's cache holds it whole; nothing is downloaded.
        """
        if self.checkpoint is None:
            return self._unreleased()
        if is_directory(self.checkpoint):
            lacking = _lacking(Path(self.checkpoint))
            return f"{self.checkpoint} has no {lacking}" if lacking else None
        if _is_path(self.checkpoint):
            own = asset("model_configs")
            if checkout() is None and Path(self.checkpoint).is_relative_to(own):
                return f"not in the installed package: give the repository's, {self._given()}"
            return f"{self.checkpoint}: no such directory"
        snapshot = _cached(self.checkpoint)
        if snapshot is None or _lacking(snapshot):
            return f"{self.checkpoint} is not downloaded: the first run gets it from the hub"
        return None

    @property
    def _owner(self) -> str:
        return self.weights_of or self.name

    def _unreleased(self) -> str:
        return f"never released: give your own, {self._given()}"

    def _given(self) -> str:
        return f"`{self._owner}: DIR` in {CHECKPOINTS_FILE}"


def _is_path(checkpoint: str) -> bool:
    """Tell a directory from a name on the hub, which is NAME or OWNER/NAME."""
    return checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1


def _cached(name: str) -> Path | None:
    """Return the folder of a hub model in the local cache, if its config is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _lacking(directory: Path) -> str | None:
    """Return what a model directory has not: its config, or (a part of) its weights."""
    if not (directory / "config.json").is_file():
        return "config.json"
    for index in directory.glob("*.safetensors.index.json"):
        try:
            parts = set(parse_json(read_small(index), str(index))["weight_map"].values())
            missing = [part for part in sorted(parts) if not (directory / part).is_file()]
        except (DataError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return f"readable {index.name}"
        if missing:
            return str(missing[0])
    if not any(any(directory.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        return "weights (*.safetensors or *.bin)"
    return None
