"""What a setting and a checkpoint know together: the base, the lengths and the laws of them."""

from __future__ import annotations

from typing import Any, Protocol

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry


class Setting(Protocol):
    """A `RopeSpec` as a method sees it: every registered field by its name."""

    def __getattr__(self, name: str) -> Any:
        """Return a field."""


class Facts:
    """A setting on a checkpoint, before any tensor.

    Attributes:
        spec: the setting.
        geometry: what the checkpoint says.
    """

    def __init__(self, spec: Setting, geometry: RotaryGeometry):
        self.spec = spec
        self.geometry = geometry

    @property
    def rope_theta(self) -> float:
        """The base β that the setting asks for, else the checkpoint's own."""
        return float(self.spec.rope_theta or self.geometry.rope_theta)

    @property
    def pairs(self) -> int:
        """Pairs of dimensions that are rotated, F."""
        return self.geometry.rotary_dim // 2

    @property
    def knows_train_length(self) -> bool:
        """Whether the spec or the config gives the context length of pre-training."""
        return (self.spec.train_length or self.geometry.train_length) is not None

    @property
    def train_length(self) -> int:
        """The context length of pre-training, T_train; a `SpecError` where neither gives it."""
        length: int | None = self.spec.train_length or self.geometry.train_length
        if length is None:
            raise SpecError(
                f"{self.spec} needs train_length, and the model's config has no "
                "max_position_embeddings: give train_length=…"
            )
        return length

    @property
    def critical_dimension(self) -> int:
        """d_extra of Lemma 1, a count of dimensions."""
        return theory.critical_dimension(
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            pretrain_theta=self.spec.pretrain_theta,
        )

    @property
    def extrapolation_bound(self) -> float:
        """T_extra of Theorems 2 and 3, in tokens."""
        return theory.extrapolation_bound(
            self.rope_theta,
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            tune_length=self.spec.tune_length,
            pretrain_theta=self.spec.pretrain_theta,
        )

    def t_ref(self, extra: bool = True) -> float:
        """Return T_ref of Eqs. 16-18 in tokens.

        Args:
            extra: whether ``reference_length=extra`` means T_extra here; else it means T_train.
        """
        reference = self.spec.reference_length
        if isinstance(reference, float):
            return reference
        return self.extrapolation_bound if reference == "extra" and extra else self.train_length
