"""How far checkpoints reach under methods that are to extend a model, against as trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from rope_eval.rope import methods
from studies.scaling_laws.claim import tokens
from studies.scaling_laws.extensions import FACTOR, extensions
from studies.scaling_laws.names import AS_TRAINED, METHODS
from studies.scaling_laws.retrieved import reached
from studies.scaling_laws.runs import JUDGED, Checkpoint, Curve, Laboratory, Retrieval
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.scores import (
    MARGIN,
    Difference,
    compare,
    cumulative_nll,
)

SHOWN = (1, FACTOR, 32)
"""Lengths of the table, in T_train: where nothing is extended, the one asked for, and far past."""

Column = Literal["frequencies", "by length, fewer pairs", "position maps"]
NOWHERE = "nowhere"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reach:
    """Up to which length something holds, in tokens, 0 where nowhere.

    Attributes:
        value: with its interval.
        further: how much further than as trained, paired.
        longest: the longest length measured.
        rows: the value in all rows of the samples, [K].
    """

    value: Estimate
    further: Estimate
    longest: int
    rows: Floats

    def text(self) -> str:
        """Return the length for a table."""
        return tokens(self.value, self.longest) if self.value.value else NOWHERE

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**plain(self.value), "further": plain(self.further), "longest": self.longest}


@dataclass(frozen=True, kw_only=True, eq=False)
class Extended:
    """A checkpoint under a method.

    Attributes:
        curve: its losses.
        retrieval: its marks, or None.
        asked: whether the method is one of `extensions`; the others stand beside them.
        losses: by length: cumulative, and against the checkpoint as trained.
        keeps: up to where perplexity holds.
        finds: the farthest distance at which needles are found, or None.
        judged: the lengths that its loss is judged at.
    """

    curve: Curve
    retrieval: Retrieval | None
    asked: bool
    losses: Mapping[int, Difference]
    keeps: Reach
    finds: Reach | None
    judged: tuple[int, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """What was run."""
        return self.curve.checkpoint

    @property
    def method(self) -> str:
        """What it was run under."""
        return self.curve.method

    @property
    def column(self) -> Column:
        """The kind of method, a column of the figure."""
        rope = self.curve.rope
        active = methods.active(rope)
        if any(method.maps_positions for method in active):
            return "position maps"
        fixed = any(m.frequencies in ("scale", "set") for m in active)
        return "frequencies" if fixed and self.curve.one_pass else "by length, fewer pairs"

    def accuracy(self) -> Floats:
        """Return the part of the needles found at each length, the needle first, [L]."""
        assert self.retrieval is not None
        marks: Floats = self.retrieval.right[:, :, 0].mean(0)
        return marks

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; of the setting what the method adds to the checkpoint's."""
        trained = self.checkpoint.rope.to_dict()
        rope = self.curve.rope.to_dict()
        return {
            "checkpoint": self.checkpoint.name,
            "method": self.method,
            "setting": {name: value for name, value in rope.items() if name not in trained},
            "losses": plain(self.losses),
            "keeps_perplexity_up_to": self.keeps.to_dict(),
            "finds_as_far_as": None if self.finds is None else self.finds.to_dict(),
            "accuracy": None if self.retrieval is None else plain(self.accuracy()),
        }


def kept(curve: Curve, in_window: Curve, sample: Sample) -> Floats:
    """Return the length up to which the cumulative loss is within the margin, [K].

    It counts from T_train on, and is 0 where the loss at T_train is beyond the margin. The margin
    is to what the same tokens cost in windows of T_train, by the model as trained. Cumulative, as
    where the frequencies follow the length a token's loss depends on the length it is read at.
    """
    lengths = [n for n in curve.lengths if n >= curve.checkpoint.train_length]
    longer, in_windows = (
        np.stack([cumulative_nll(one, sample, n) for n in lengths], axis=1)
        for one in (curve, in_window)
    )
    holds = np.cumprod(longer - in_windows <= MARGIN, axis=1)
    return np.asarray((holds * np.array(lengths, dtype=np.float64)).max(1))


@lru_cache(maxsize=8)  # a laboratory's: of all seeds, and of each, as two claims ask for it
def extended(laboratory: Laboratory) -> tuple[Extended, ...]:
    """Return all checkpoints that were run under `extensions`, and their other methods."""
    names = tuple(
        extensions(
            train_length=laboratory.train_length,
            head_dim=laboratory.head_dim,
            pretrain_theta=laboratory.pretrain_theta,
        )
    )
    return tuple(
        _extended(laboratory, checkpoint, method, asked=method in names)
        for checkpoint in laboratory.checkpoints
        if any(laboratory.curve(checkpoint, name) is not None for name in names)
        for method in (AS_TRAINED, *METHODS, *names)
        if laboratory.curve(checkpoint, method) is not None
    )


def _extended(
    laboratory: Laboratory, checkpoint: Checkpoint, method: str, *, asked: bool
) -> Extended:
    trained, curve = laboratory.trained(checkpoint), laboratory.curves[checkpoint.name, method]
    in_window, sample = laboratory.in_window(checkpoint), laboratory.sample
    values, before = (kept(one, in_window, sample) for one in (curve, trained))
    keeps = Reach(
        value=sample.estimate(values),
        further=sample.estimate(values - before),
        longest=curve.lengths[-1],
        rows=values,
    )
    retrieval = laboratory.retrieval.get((checkpoint.name, method))
    finds = None
    if retrieval is not None:
        probes = Sample(len(retrieval.right), laboratory.sets)
        unchanged = laboratory.retrieval[checkpoint.name, AS_TRAINED]
        values, before = (reached(one, probes) for one in (retrieval, unchanged))
        finds = Reach(
            value=probes.estimate(values),
            further=probes.estimate(values - before),
            longest=retrieval.lengths[-1],
            rows=values,
        )
    return Extended(
        curve=curve,
        retrieval=retrieval,
        asked=asked,
        losses={
            n: compare(laboratory, curve, trained, n) for n in laboratory.multiples(1, *JUDGED)
        },
        judged=laboratory.judged(checkpoint),
        keeps=keeps,
        finds=finds,
    )
