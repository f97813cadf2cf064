"""Checkpoints under position methods, in the panels of Fig. 11."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studies.scaling_laws.findings.comparison import Difference, compare, excess
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Checkpoint, Laboratory

LOG, NTK, WRONG_NTK, PER_SEQUENCE = "log", "ntk", "ntk (wrong)", "ntk per_sequence"
METHODS = (
    LOG,
    "xpos",
    "log+xpos",
    NTK,
    "ntk+xpos",
    "ntk+log",
    "ntk+log+xpos",
    PER_SEQUENCE,
    "log (wrong)",
    WRONG_NTK,
    "ntk+log (wrong)",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A checkpoint under the position methods.

    Attributes:
        checkpoint: It.
        against: By (method, length): against the checkpoint as it was trained.
        excess: Cumulative loss at a length above that at T_tune, as trained; by length.
    """

    checkpoint: Checkpoint
    against: dict[tuple[str, int], Difference]
    excess: dict[int, float]

    @property
    def methods(self) -> tuple[str, ...]:
        """What it was measured under, "as trained" first."""
        return tuple(dict.fromkeys(method for method, _ in self.against))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "excess": {str(length): value for length, value in self.excess.items()},
            "methods": [
                {"method": method, "length": length, **difference.to_dict()}
                for (method, length), difference in self.against.items()
            ],
        }


def measured(laboratory: Laboratory, lengths: Sequence[int]) -> list[Measured]:
    """Return the checkpoints that any method was measured on, of one seed each."""
    found = []
    for checkpoint in laboratory.checkpoints:
        curves = {
            method: curve
            for method in (AS_TRAINED, *METHODS)
            if (curve := laboratory.curve(checkpoint, method)) is not None
        }
        if checkpoint != laboratory.seeds_of(checkpoint)[0] or len(curves) < 2:
            continue
        trained = curves[AS_TRAINED]
        found.append(
            Measured(
                checkpoint=checkpoint,
                against={
                    (method, length): compare(laboratory, curve, trained, length)
                    for method, curve in curves.items()
                    for length in lengths
                    if length in curve.lengths
                },
                excess={length: excess(laboratory, trained, length) for length in lengths},
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """What Fig. 11 shows: the base of pre-training, smaller bases, larger ones; T_tune = T_train.

    Those trained without the dimensions beyond the critical one are in the first group alone.
    """

    own: tuple[Measured, ...]
    smaller: tuple[Measured, ...]
    larger: tuple[Measured, ...]


def groups(found: Sequence[Measured], pretrain_theta: float, train_length: int) -> Groups:
    """Sort into the groups of Fig. 11."""
    same = [m for m in found if m.checkpoint.tune_length == train_length]
    whole = [m for m in same if not m.checkpoint.dropped]
    return Groups(
        own=tuple(m for m in same if m.checkpoint.base == pretrain_theta),
        smaller=tuple(m for m in whole if m.checkpoint.base < pretrain_theta),
        larger=tuple(m for m in whole if m.checkpoint.base > pretrain_theta),
    )
