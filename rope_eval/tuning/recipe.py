"""How a checkpoint is made, as a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rope_eval.labels import base_name
from rope_eval.rope.spec import RopeSpec

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one checkpoint is made; AdamW without weight decay, as in arXiv 2310.05209, B.1.

    Attributes:
        name: name of the checkpoint and of its folder.
        rope: what it is trained under. Its ``tune_length``, or ``train_length`` without one, is
            the tokens of a window: no query ever sees a key further away.
        start_from: name of the checkpoint to tune, or None to train from random weights.
        steps: optimiser steps, of ``batch_size`` windows each.
        batch_size: windows a step, on all devices together.
        learning_rate: peak learning rate of AdamW.
        schedule: ``constant``, or ``cosine`` down to a tenth of the peak.
        warmup_steps: steps over which the learning rate first rises linearly.
        max_grad_norm: the gradient is scaled down to this norm when it is longer.
        seed: seed of the first weights and of the windows.
    """

    name: str
    rope: RopeSpec
    start_from: str | None
    steps: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    seed: int = 0

    @property
    def length(self) -> int:
        """Tokens of a window."""
        length = self.rope.tune_length or self.rope.train_length
        assert length is not None, "a recipe says how long its windows are"
        return length

    @property
    def tokens(self) -> int:
        """Tokens that are trained on in all."""
        return self.steps * self.batch_size * self.length

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        return asdict(self) | {"rope": self.rope.to_dict()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """Return the recipe that :meth:`to_dict` wrote."""
        return cls(**(fields | {"rope": RopeSpec.from_dict(fields["rope"])}))


def tuning_name(rope: RopeSpec) -> str:
    """Return the name of a checkpoint that is tuned under a setting.

    >>> tuning_name(RopeSpec(rope_theta=500, tune_length=16384))
    'base-500-16384'
    >>> tuning_name(RopeSpec(linear_factor=2, tune_length=8192))
    'linear-2-8192'
    """
    parts = [] if rope.rope_theta is None else [f"base-{base_name(rope.rope_theta)}"]
    if rope.linear_factor != 1.0:
        parts.append(f"linear-{rope.linear_factor:g}")
    if rope.beyond_critical != "keep":
        parts.append(rope.beyond_critical)
    length = rope.tune_length or rope.train_length
    return "-".join([*(parts or ["own-base"]), str(length)])
