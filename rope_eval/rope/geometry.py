"""What a checkpoint's config says of its rotary embedding: the only reader, without torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, SpecError
from rope_eval.files import parse_json, read_small
from rope_eval.rope.families import family_of
from rope_eval.rope.laws import Laws

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_BASES = dict.fromkeys(
    ("llama", "mistral", "phi", "phi3", "qwen2", "qwen3", "stablelm"), 10000.0
)
"""The base that transformers takes where the config of a model_type has none."""

TUNED = "rope_eval"
"""The key of a config under which `rope-eval tune` says how the model was trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RotaryGeometry:
    """What a checkpoint says of its own rotary embedding.

    Attributes:
        head_dim: dimensions of an attention head, H.
        rotary_dim: those of them that are rotated, d = 2F.
        rope_theta: the base.
        train_length: the length that the config says, or None where it has none.
        inv_freq: the checkpoint's own frequencies, float64 ``[F]``, where its config already scales
            them (linear, llama3, yarn); None for plain RoPE.
        attention_factor: what cos and sin are multiplied by (YaRN's; 1 elsewhere).
        keeps_factor: whether such a factor reaches the scores: a norm that follows takes it off.
        rescaled: where the config scales: a base to its frequencies under the same scaling,
            float64 ``[F]``; None where no other base can be asked for.
        short_length: where the config has two sets of frequencies (longrope): the longest sequence
            that takes `inv_freq`; longer ones take those of `long`.
        long: the geometry of longer sequences.
        rope_type: how the config scales its frequencies, ``default`` where it does not.
        laws: what the config says that the laws stand on; by default the base and the length here.
    """

    head_dim: int
    rotary_dim: int
    rope_theta: float
    train_length: int | None
    inv_freq: Tensor | None = None
    attention_factor: float = 1.0
    keeps_factor: bool = True
    rope_type: str = "default"
    laws: Laws | None = None
    rescaled: Callable[[float], Tensor] | None = None
    short_length: float = math.inf
    long: RotaryGeometry | None = None

    def without_factor(self) -> RotaryGeometry:
        """Return the geometry of a model that takes a factor off again."""
        longer = self.long and self.long.without_factor()
        return dataclasses.replace(self, attention_factor=1.0, keeps_factor=False, long=longer)

    def still(self) -> RotaryGeometry:
        """Return the geometry of a layer that does not rotate."""
        import torch

        zero = torch.zeros(self.rotary_dim // 2, dtype=torch.float64)
        return dataclasses.replace(
            self,
            inv_freq=zero,
            attention_factor=1.0,
            rope_type="default",
            short_length=math.inf,
            long=None,
        )

    def frequencies(self, rope_theta: float) -> Tensor | None:
        """Return the config's own scaling of a base, float64 ``[F]``; None where it scales none.

        Raises:
            SpecError: for a base that the config does not let change.
        """
        if self.inv_freq is None or rope_theta == self.rope_theta:
            return self.inv_freq
        if self.rescaled is None:
            raise SpecError(
                f"the base {rope_theta:g} cannot be asked for: what the checkpoint's frequencies "
                f"are made of is not known, but their own base of {self.rope_theta:g}"
            )
        return self.rescaled(rope_theta)

    @property
    def is_scaled(self) -> bool:
        """Whether the config scales its frequencies: then they are not those of the base alone."""
        return self.rope_type != "default" or self.inv_freq is not None


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """The rotary part of a config, as transformers 4 (flat) or 5 (rope_parameters) writes it.

    Each property is None where the config is silent, and a `DataError` where it has no sense.

    Attributes:
        values: the config as a plain mapping: config.json, or ``PreTrainedConfig.to_dict()``.
        where: what it is called in errors.
    """

    values: Mapping[str, Any]
    where: str

    @classmethod
    def read(cls, directory: Path) -> RopeConfig:
        """Read a model's directory; one without a config.json that is one is a `DataError`."""
        path = directory / "config.json"
        try:
            data = read_small(path)
        except DataError as error:
            raise DataError(f"{error}; a model is a directory with a config.json") from error
        values = parse_json(data, str(path))
        if not isinstance(values, dict):
            raise DataError(f"{path} is not a model's config: it is a {type(values).__name__}")
        return cls(values, str(path))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the config says of its RoPE: empty where it is flat and scales nothing."""
        parameters = self.values.get("rope_parameters") or self.values.get("rope_scaling") or {}
        if not isinstance(parameters, dict):
            raise DataError(f"{self.where}: rope_parameters must be an object, got {parameters!r}")
        return parameters

    @property
    def differs_by_layer(self) -> bool:
        """Whether each type of layer has RoPE parameters of its own."""
        return any(isinstance(value, dict) for value in self.parameters.values())

    @property
    def head_dim(self) -> int | None:
        """Dimensions of an attention head."""
        given = self._integer("head_dim")
        if given is not None:
            return given
        hidden, heads = self._integer("hidden_size"), self._integer("num_attention_heads")
        return None if hidden is None or heads is None else hidden // heads

    @property
    def rotary_dim(self) -> int | None:
        """Those of them that are rotated."""
        factor = self._number("partial_rotary_factor")
        if self.head_dim is None or factor is None:
            return self.head_dim
        return int(self.head_dim * factor)

    @property
    def rope_theta(self) -> float | None:
        """The base; where the config is silent, what transformers takes for its model_type."""
        own = self._number("rope_theta")
        return DEFAULT_BASES.get(str(self.values.get("model_type"))) if own is None else own

    @property
    def train_length(self) -> int | None:
        """The length before the config's own scaling, as far as it says one."""
        return self._original_length or self._integer("max_position_embeddings")

    @property
    def laws(self) -> Laws:
        """What the laws stand on, as far as the config says it."""
        original = self._original_length
        rope_theta = None if self.differs_by_layer else self.rope_theta
        return Laws.of(
            rope_theta=rope_theta,
            train_length=self.train_length,
            length_source=f"the config's {'original_' if original else ''}max_position_embeddings",
            family=family_of(self.values, rope_theta),
            tuned_from=original if self.rope_type == "default" else None,
            recorded=self._recorded,
        )

    @property
    def _recorded(self) -> dict[str, float]:
        """What `rope-eval tune` wrote of how the model was trained."""
        record = self.values.get(TUNED, {})
        if not isinstance(record, dict):
            raise DataError(f"{self.where}: {TUNED} must be an object, got {record!r}")
        names = ("train_length", "tune_length")
        lengths = {name: self._integer(name, record) for name in names}
        base = record.get("pretrain_theta")
        if base is not None and not (isinstance(base, int | float) and 0 < base < math.inf):
            raise DataError(f"{self.where}: pretrain_theta must be a base, got {base!r}")
        found = {"pretrain_theta": base, **lengths}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def geometry(self) -> RotaryGeometry:
        """The geometry of the base alone: a scaling has its name here, and not its frequencies."""
        if self.head_dim is None or self.rotary_dim is None or self.rope_theta is None:
            raise DataError(f"{self.where} has no head_dim or no rope_theta")
        return RotaryGeometry(
            head_dim=self.head_dim,
            rotary_dim=self.rotary_dim,
            rope_theta=self.rope_theta,
            train_length=self.train_length,
            rope_type=self.rope_type,
            laws=self.laws,
        )

    @property
    def _original_length(self) -> int | None:
        """The length that the config says it was extended from, where that is shorter."""
        name = "original_max_position_embeddings"
        original = self._integer(name, self.parameters) or self._integer(name)
        longest = self._integer("max_position_embeddings")
        return original if original and original < (longest or math.inf) else None

    @property
    def rope_type(self) -> str:
        """How the config scales its frequencies, ``default`` where it does not."""
        return str(self.parameters.get("rope_type", self.parameters.get("type", "default")))

    def _number(self, name: str) -> float | None:
        if self.differs_by_layer:
            raise DataError(f"{self.where} has RoPE parameters for each type of layer")
        value: Any = self.parameters.get(name)
        if value is None:
            value = self.values.get(name)
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise DataError(f"{self.where}: {name} must be a finite number, got {value!r}")
        found: float = value
        return found

    def _integer(self, name: str, values: Mapping[str, Any] | None = None) -> int | None:
        value = (self.values if values is None else values).get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise DataError(f"{self.where}: {name} must be a positive integer, got {value!r}")
        return value
