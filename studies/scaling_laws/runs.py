"""What a laboratory holds, with types: curves, retrieval and attention of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.recipes.grids import PRETRAIN_THETA
from studies.scaling_laws.sampling import Floats, Sample

T = TypeVar("T")

JUDGED = (2, 4, 8, 16, 32)
"""Multiples of T_train at which every statement about a loss is judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """How a measured checkpoint was made, and what the laws of arXiv 2310.05209 say of it.

    Attributes:
        name: the checkpoint's name.
        rope: what it was trained under.
        head_dim: the rotary dimension d.
        seed: the seed of its training.
        tuned: whether it started from another checkpoint.
    """

    name: str
    rope: RopeSpec
    head_dim: int
    seed: int
    tuned: bool

    @property
    def tuning(self) -> str:
        """The checkpoint's name without its seed: the same for all seeds of a tuning."""
        return self.name.removesuffix(f"-seed{self.seed}")

    @property
    def base(self) -> float:
        """The rotary base β."""
        assert self.rope.rope_theta is not None
        return self.rope.rope_theta

    @property
    def train_length(self) -> int:
        """T_train: tokens of a window in pre-training."""
        assert self.rope.train_length is not None
        return self.rope.train_length

    @property
    def pretrain_theta(self) -> float:
        """The base of pre-training, β_pre."""
        return self.rope.pretrain_theta or PRETRAIN_THETA

    @property
    def tune_length(self) -> int:
        """T_tune: tokens of a window of this checkpoint's own training."""
        return self.rope.tune_length or self.train_length

    @property
    def dropped(self) -> bool:
        """Whether it was trained without the dimensions beyond the critical one."""
        return self.rope.beyond_critical != "keep"

    @property
    def critical_dimension(self) -> int:
        """d_extra of Lemma 1, from pre-training."""
        return theory.critical_dimension(
            self.head_dim, self.train_length, pretrain_theta=self.pretrain_theta
        )

    @property
    def critical_base(self) -> float:
        """β₀ of Theorem 3."""
        return theory.critical_base(
            self.train_length, self.tune_length, pretrain_theta=self.pretrain_theta
        )

    @property
    def bound(self) -> float:
        """T_extra of Theorems 2 and 3, in tokens."""
        return theory.extrapolation_bound(
            self.base,
            head_dim=self.head_dim,
            train_length=self.train_length,
            tune_length=self.tune_length,
            pretrain_theta=self.pretrain_theta,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedEffects:
    """What other seeds of a tuning may add to a curve: see `studies.scaling_laws.tunings`.

    Attributes:
        pool: nats of a document up to each length that a seed adds, [P, L].
        drawn: which of them each resample has, one for each seed of the tuning, [R, S].
    """

    pool: Floats
    drawn: npt.NDArray[np.int64]

    def at(self, places: list[int]) -> Floats:
        """Return what is added in each resample, [R, ...], by places of lengths."""
        found: Floats = self.pool[:, places][self.drawn].mean(1)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Sums of scores of D documents at L lengths.

    Attributes:
        checkpoint: what was measured.
        method: the label of the position method.
        rope: what it was measured under.
        lengths: tokens seen, BOS included; increasing.
        nll: nats summed over the ``lengths[l] - 1`` scored tokens, [D, L].
        hits: how many of them were the most likely token, [D, L]; NaN where that is not kept.
        effects: what other seeds may add, where the curve is a mean over seeds.
    """

    checkpoint: Checkpoint
    method: str
    rope: RopeSpec
    lengths: tuple[int, ...]
    nll: Floats
    hits: Floats
    effects: SeedEffects | None = None

    def sums(self, sample: Sample, places: list[int]) -> Floats:
        """Return nats up to some of its lengths in all rows of a sample, [K, places]."""
        found: Floats = sample.weights @ self.nll[:, places]
        if self.effects is not None:
            found[1 + sample.sets :] += sample.items * self.effects.at(places)
        return found

    @property
    def one_pass(self) -> bool:
        """Whether a token's score is the same at every length, so that sums can be subtracted."""
        return self.rope.base_changes != "per_sequence"

    def at(self, lengths: tuple[int, ...]) -> Curve:
        """Return it at some of its lengths, increasing."""
        places = [self.index(length) for length in lengths]
        effects = self.effects
        if effects is not None:
            effects = replace(effects, pool=effects.pool[:, places])
        nll, hits = self.nll[:, places], self.hits[:, places]
        return replace(self, lengths=lengths, nll=nll, hits=hits, effects=effects)

    def index(self, length: int) -> int:
        """Return where a length is, or raise `DataError`."""
        if length not in self.lengths:
            raise DataError(
                f"{self.checkpoint.name} ({self.method}) was not measured at {length} tokens, but "
                f"at {list(self.lengths)}: measure it at lengths that hold this one"
            )
        return self.lengths.index(length)


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieval:
    """Marks of S samples at L lengths and P depths: see `rope_eval.data.probes`.

    Attributes:
        lengths: tokens of a probe.
        depths: where the needles stand, from 0, first, to 1, last.
        right: whether the whole answer was the greedy one, [S, L, P].
        nll: nats of the whole answer, [S, L, P].
    """

    checkpoint: Checkpoint
    method: str
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    right: Floats
    nll: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class AtDistances:
    """Marks of S samples, each at a distance of its own: see `rope_eval.data.distances`.

    Attributes:
        distance: tokens of a probe, whose needle stands first, [S].
        right: whether the whole answer was the greedy one, [S].
        nll: nats of the whole answer, [S].
    """

    checkpoint: Checkpoint
    method: str
    distance: npt.NDArray[np.int64]
    right: Floats
    nll: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Attention scores by relative position, over all layers and heads of D documents.

    Attributes:
        edges: bin i holds relative positions ``edges[i] … edges[i + 1] - 1``; [E + 1].
        sums: sums of scores, [D, 2, E]; axis 1 has the dimensions before d_extra and those from
            it on.
        counts: number of scores of one document, [E].
    """

    checkpoint: Checkpoint
    method: str
    edges: npt.NDArray[np.int64]
    sums: Floats
    counts: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Laboratory:
    """All measurements of a grid, the newest of each.

    Attributes:
        grid: name of the grid.
        text: what the curves were measured on: source, sha256, sets, documents, tokens.
        curves: curves by (checkpoint, method).
        in_windows: by (checkpoint, method) the same tokens, each scored in a window of T_tune
            tokens of its own, with T_tune / 2 or more before it.
        retrieval: marks by (checkpoint, method).
        distances: marks at distances drawn from a range, by the same.
        attention: scores by (checkpoint, method).
        failed: a line for each run that failed.
    """

    grid: str
    text: dict[str, Any]
    curves: dict[tuple[str, str], Curve]
    in_windows: dict[tuple[str, str], Curve]
    retrieval: dict[tuple[str, str], Retrieval]
    distances: dict[tuple[str, str], AtDistances]
    attention: dict[tuple[str, str], Attention]
    failed: tuple[str, ...] = field(default=())

    @property
    def sets(self) -> int:
        """Number of disjoint sets of evaluation text; item i of anything is of set i mod this."""
        return int(self.text["sets"])

    @property
    def documents(self) -> int:
        """Number of documents of the curves."""
        return int(self.text["documents"])

    @property
    def _first(self) -> Checkpoint:
        return next(iter(self.curves.values())).checkpoint

    @property
    def train_length(self) -> int:
        """T_train of all checkpoints."""
        return self._first.train_length

    @property
    def pretrain_theta(self) -> float:
        """The base of pre-training, β_pre."""
        return self._first.pretrain_theta

    @property
    def head_dim(self) -> int:
        """The rotary dimension d."""
        return self._first.head_dim

    @cached_property
    def sample(self) -> Sample:
        """The documents' resamples, the same for all curves: every comparison is paired."""
        return Sample(self.documents, self.sets)

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Checkpoints with an "as trained" curve; the smallest base first, then by T_tune."""
        found = [c.checkpoint for (_, method), c in self.curves.items() if method == AS_TRAINED]
        order = sorted(found, key=lambda c: (c.tuned, c.tune_length, c.base, c.dropped, c.seed))
        return tuple(order)

    @property
    def tune_lengths(self) -> tuple[int, ...]:
        """The lengths that something was tuned at."""
        return tuple(sorted({c.tune_length for c in self.checkpoints if c.tuned}))

    def tuned(self, tune_length: int, *, dropped: bool = False) -> tuple[Checkpoint, ...]:
        """Return the checkpoints tuned at a length, one a base, the smallest base first."""
        return tuple(
            c
            for c in self.checkpoints
            if c.tuned
            and c.tune_length == tune_length
            and c.dropped == dropped
            and c == self.seeds_of(c)[0]
        )

    def seeds_of(self, checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
        """Return a checkpoint and those that differ from it in nothing but the seed."""
        return tuple(
            c for c in self.checkpoints if (c.rope, c.tuned) == (checkpoint.rope, checkpoint.tuned)
        )

    def curve(self, checkpoint: Checkpoint, method: str = AS_TRAINED) -> Curve | None:
        """Return a curve, or None where it was not measured."""
        return self.curves.get((checkpoint.name, method))

    def trained(self, checkpoint: Checkpoint) -> Curve:
        """Return the "as trained" curve of one of `checkpoints`."""
        return self.curves[checkpoint.name, AS_TRAINED]

    def in_window(self, checkpoint: Checkpoint) -> Curve:
        """Return what a checkpoint's tokens cost in windows that tuning has shown."""
        found = self.in_windows.get((checkpoint.name, AS_TRAINED))
        lengths = self.trained(checkpoint).lengths
        if found is None or not set(lengths) <= set(found.lengths):
            raise DataError(
                f"{checkpoint.name} was not measured in windows of {checkpoint.tune_length} tokens "
                "at the lengths of its curve: run the study's plan again"
            )
        return found.at(lengths)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the tunings that have several."""
        return tuple(sorted({c.seed for c in self.checkpoints if len(self.seeds_of(c)) > 1}))

    def of_seed(self, seed: int) -> Laboratory:
        """Return the measurements of a seed alone; of a tuning that lacks it those of its first."""
        kept = set()
        for checkpoint in self.checkpoints:
            seeds = self.seeds_of(checkpoint)
            kept.add(next((c for c in seeds if c.seed == seed), seeds[0]).name)

        def of(found: dict[tuple[str, str], T]) -> dict[tuple[str, str], T]:
            return {key: one for key, one in found.items() if key[0] in kept}

        return replace(
            self,
            curves=of(self.curves),
            in_windows=of(self.in_windows),
            retrieval=of(self.retrieval),
            distances=of(self.distances),
            attention=of(self.attention),
        )

    def judged(self, checkpoint: Checkpoint) -> tuple[int, ...]:
        """Return the lengths at which a loss is judged: those of `JUDGED` past T_extra.

        Args:
            checkpoint: whose T_extra; of a comparison what is compared against.
        """
        return tuple(n for n in self.multiples(*JUDGED) if n > checkpoint.bound)

    def multiples(self, *factors: int) -> tuple[int, ...]:
        """Return those multiples of T_train at which every "as trained" curve was measured."""
        wanted = (self.train_length * factor for factor in factors)
        return tuple(
            length
            for length in wanted
            if all(length in self.trained(c).lengths for c in self.checkpoints)
        )
