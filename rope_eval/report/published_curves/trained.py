"""How a published model was trained, and what the laws say of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rope_eval import theory
from rope_eval.files import read_small
from rope_eval.report.published_curves.file import SHIPPED


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What the laws stand on; None is unknown.

    Attributes:
        head_dim: the rotary dimension.
        pretrain_theta: the base of pre-training.
        train_length: of pre-training, in tokens.
        tune_length: of the tuning, in tokens; None is `train_length`.
        rope_theta: the base that it was measured under; None is `pretrain_theta`.
        scaling: how its frequencies are scaled beside the base, empty where they are not.
        source: who says so.
    """

    head_dim: int | None = None
    pretrain_theta: float | None = None
    train_length: int | None = None
    tune_length: int | None = None
    rope_theta: float | None = None
    scaling: str = ""
    source: str = ""

    def given(self, values: Mapping[str, Any]) -> Trained:
        """Return the same with what is given in its place."""
        return replace(self, **{name: v for name, v in values.items() if v is not None})

    @property
    def missing(self) -> tuple[str, ...]:
        """What the laws need and is not known."""
        needed = ("head_dim", "pretrain_theta", "train_length")
        return tuple(name for name in needed if getattr(self, name) is None)

    @property
    def base(self) -> float | None:
        """The base that it was measured under."""
        return self.pretrain_theta if self.rope_theta is None else self.rope_theta

    @property
    def bound(self) -> float | None:
        """T_extra of arXiv 2310.05209, Theorems 2 and 3; None where it is not known or none."""
        if self.missing or self.scaling or self.base is None:
            return None
        assert self.head_dim and self.train_length and self.pretrain_theta
        if self.train_length > theory.TWO_PI * self.pretrain_theta:
            return None
        return theory.extrapolation_bound(
            self.base,
            head_dim=self.head_dim,
            train_length=self.train_length,
            tune_length=self.tune_length,
            pretrain_theta=self.pretrain_theta,
        )

    def first_negative(self, length: int) -> int | None:
        """Return the first distance up to a length with B(m) < 0 of arXiv 2405.14591, or None."""
        if self.head_dim is None or self.base is None or self.scaling:
            return None
        return theory.first_negative(self.base, length, self.head_dim)


def known() -> dict[str, Trained]:
    """Return the models of the curves in results/published, by name."""
    text = read_small(SHIPPED / "models.csv").decode()
    return {row["model"]: _trained(row) for row in csv.DictReader(io.StringIO(text))}


def _trained(row: Mapping[str, str]) -> Trained:
    return Trained(
        head_dim=int(row["head_dim"]),
        pretrain_theta=float(row["pretrain_theta"]),
        train_length=int(row["train_length"]),
        tune_length=int(row["tune_length"]),
        rope_theta=float(row["rope_theta"]),
        scaling=row["scaling"],
        source=row["source"],
    )
