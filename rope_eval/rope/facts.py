"""What a setting and a checkpoint know together: the base, the lengths and the laws of them."""

from __future__ import annotations

from typing import Any, Protocol

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.laws import GIVEN, Laws


class Setting(Protocol):
    """A `RopeSpec` as a method sees it: every registered field by its name."""

    def __getattr__(self, name: str) -> Any:
        """Return a field."""


class Facts:
    """A setting on a checkpoint, before any tensor.

    Attributes:
        spec: the setting.
        geometry: what the checkpoint says.
        laws: what the laws stand on, each with its source.
    """

    def __init__(self, spec: Setting, geometry: RotaryGeometry):
        self.spec = spec
        self.geometry = geometry
        said = geometry.laws or Laws.of(
            rope_theta=geometry.rope_theta, train_length=geometry.train_length
        )
        self.laws = said.under(spec)

    @property
    def rope_theta(self) -> float:
        """The base β that the setting asks for, else the checkpoint's own."""
        return float(self.spec.rope_theta or self.geometry.rope_theta)

    @property
    def pairs(self) -> int:
        """Pairs of dimensions that are rotated, F."""
        return self.geometry.rotary_dim // 2

    @property
    def train_length(self) -> int:
        """The context length of pre-training, T_train; a `SpecError` where it is not known."""
        return int(self.laws.require("train_length", self._asker))

    @property
    def scaled_from(self) -> int:
        """The length that a scaling of the checkpoint starts from: the longest it was made for.

        It is a given train_length (YaRN's tuning is at tune_length), else T_tune, else T_train.
        """
        laws = self.laws
        if GIVEN in (laws.train_length.source, laws.tune_length.source):
            return self.train_length
        return int(laws.tune_length.value or self.train_length)

    @property
    def pretrain_theta(self) -> float:
        """The base of pre-training, β_pre; a `SpecError` where it is not known."""
        return float(self.laws.require("pretrain_theta", self._asker))

    @property
    def critical_dimension(self) -> int:
        """d_extra of Lemma 1, a count of dimensions."""
        return theory.critical_dimension(
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            pretrain_theta=self.pretrain_theta,
        )

    @property
    def doubt(self) -> str:
        """Why the laws give no bound although what they stand on is known; empty where they do."""
        if self.geometry.is_scaled:
            return (
                f"the config scales its frequencies (rope_type={self.geometry.rope_type}), and the "
                "laws are of the base alone"
            )
        if self.train_length > theory.TWO_PI * self.pretrain_theta:
            return (
                f"with a base of {self.pretrain_theta:g} every pair turns fully in the "
                f"{self.train_length} tokens of pre-training, a case that the laws do not treat"
            )
        return ""

    @property
    def extrapolation_bound(self) -> float:
        """T_extra of Theorems 2 and 3, in tokens; a `SpecError` where the laws give none."""
        tuned: Any = self.laws.tune_length.value
        bound = theory.extrapolation_bound(
            self.rope_theta,
            head_dim=self.geometry.rotary_dim,
            train_length=self.train_length,
            tune_length=tuned,
            pretrain_theta=self.pretrain_theta,
        )
        if self.doubt:
            raise SpecError(
                f"{self._asker} needs the extrapolation bound, and there is none: {self.doubt}. "
                "Give reference_length=… in tokens, or what the laws stand on (train_length=…, "
                "pretrain_theta=…) if it is not this"
            )
        return bound

    @property
    def bound(self) -> tuple[float | None, str]:
        """The extrapolation bound; or None, and why there is none."""
        try:
            return self.extrapolation_bound, ""
        except SpecError as error:
            return None, str(error)

    @property
    def _asker(self) -> str:
        return "the law" if self.spec.is_neutral else str(self.spec)

    def t_ref(self, extra: bool = True) -> float:
        """Return T_ref of Eqs. 16-18 in tokens.

        Args:
            extra: whether a word means T_extra or T_train here; else either means `scaled_from`.
        """
        reference = self.spec.reference_length
        if isinstance(reference, float):
            return reference
        if not extra:
            return self.scaled_from
        return self.extrapolation_bound if reference == "extra" else self.train_length
