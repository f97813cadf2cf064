"""Figs. 6, 8 and 10: mean attention scores before and beyond the critical dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.report.figures.attention import PARTS, Scores, draw_attention
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    spread,
    table,
    with_interval,
)
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.runs import Attention, Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.verdicts import Check, above_zero, below_zero, within

STAYS = 0.05
"""Part of its range that a part may leave it by and still stay in it."""

CRITERION = (
    "past T_extra the part beyond the critical dimension leaves its range by more than the part "
    "before, and by less for a base below β₃, under dynamic NTK and under clipping; the part "
    f"before stays in it, to {STAYS:.0%} of its width. Each with its whole interval."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """How far one part of the mean score leaves what tuning has shown, past the bound.

    The part's range is from the lowest to the highest bin mean at distances of 1 … T_tune − 1, of
    the checkpoint as it was trained.

    Attributes:
        within: width of the range, in units of the score (logits).
        shift: mean score past the bound minus that at T_tune / 2 … T_tune − 1, over the range.
        leaves: how far the farthest bin past the bound lies outside of the range, over its width;
            0 where none does.
        rows: ``leaves`` in all rows of the sample, [K].
    """

    within: Estimate
    shift: Estimate
    leaves: Estimate
    rows: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "range_within": plain(self.within),
            "shift_over_range": plain(self.shift),
            "leaves_range_by": plain(self.leaves),
        }


def drift(attention: Attention, trained: Attention, part: int, sample: Sample) -> Drift | None:
    """Return the drift of a part; None where no bin lies within, or none past the bound.

    Args:
        attention: scores by distance.
        trained: those of the same checkpoint as it was trained, of the same documents and bins.
        part: 0 before the critical dimension, 1 beyond it.
        sample: rows of the documents.
    """
    tune, bound = attention.checkpoint.tune_length, attention.checkpoint.bound
    first, last = attention.edges[:-1], attention.edges[1:] - 1
    inside = (first >= 1) & (last < tune)
    recent, past = inside & (first >= tune // 2), first > bound
    if not (inside.any() and recent.any() and past.any()):
        return None
    means, shown = (
        sample.weights @ a.sums[:, part] / (sample.totals * a.counts) for a in (attention, trained)
    )
    low, high = shown[:, inside].min(1), shown[:, inside].max(1)
    width = high - low
    weights = attention.counts

    def pooled(values: Floats, bins: Any) -> Floats:
        return np.asarray(values[:, bins] @ weights[bins] / weights[bins].sum())

    outside = np.maximum(means - high[:, None], low[:, None] - means)[:, past].max(1)
    leaves = np.maximum(outside, 0) / width
    return Drift(
        within=sample.estimate(width),
        shift=sample.estimate((pooled(means, past) - pooled(shown, recent)) / width),
        leaves=sample.estimate(leaves),
        rows=leaves,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Drifts:
    """Both parts of a checkpoint under a method."""

    attention: Attention
    before: Drift
    beyond: Drift
    difference: Estimate

    @property
    def checkpoint(self) -> Checkpoint:
        """What was looked into."""
        return self.attention.checkpoint

    @property
    def as_trained(self) -> bool:
        """Whether it is under no method."""
        return self.attention.method == AS_TRAINED

    @property
    def name(self) -> str:
        """The checkpoint, and the method unless it is as trained."""
        name = self.checkpoint.name
        return name if self.as_trained else f"{name}, {self.attention.method}"

    @property
    def tuned_longer(self) -> bool:
        """Whether T_tune is not T_train."""
        return self.checkpoint.tune_length != self.checkpoint.train_length

    @property
    def larger(self) -> bool:
        """Whether the bound is that of pre-training's critical dimension.

        So the base is above the critical one of its T_tune, or at T_train that of pre-training.
        """
        own = self.checkpoint.base == self.checkpoint.pretrain_theta
        above = self.checkpoint.base > self.checkpoint.critical_base
        return above or (own and not self.tuned_longer)


def drifts(laboratory: Laboratory) -> list[Drifts]:
    """Return the drifts of all that was measured, as trained first, smaller bases first."""
    order = sorted(
        laboratory.attention.values(),
        key=lambda a: (
            a.method != AS_TRAINED,
            a.checkpoint.tuned,
            a.checkpoint.tune_length,
            a.checkpoint.base,
        ),
    )
    found = []
    for attention in order:
        trained = laboratory.attention.get((attention.checkpoint.name, AS_TRAINED))
        if trained is None or trained.sums.shape != attention.sums.shape:
            continue
        sample = Sample(len(attention.sums), laboratory.sets)
        before, beyond = (drift(attention, trained, part, sample) for part in (0, 1))
        if before is not None and beyond is not None:
            difference = sample.estimate(beyond.rows - before.rows)
            found.append(
                Drifts(attention=attention, before=before, beyond=beyond, difference=difference)
            )
    return found


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = drifts(laboratory)
    if not found:
        raise DataError("no attention scores past the bound of a checkpoint")
    documents = sorted({len(d.attention.sums) for d in found})
    larger = [d for d in found if d.larger and d.as_trained]
    more = sum(d.difference.sign > 0 for d in larger)
    return Finding(
        name="attention",
        title="Attention scores before and beyond the critical dimension",
        source="arXiv 2310.05209, §3.2 to §3.4, Figs. 6, 8 and 10",
        claim="Past the bound the scores of the dimensions beyond the critical one leave what "
        "they were in training, while those before it stay; smaller bases have seen their "
        "oscillations in training, and dynamic NTK and clipping keep scores consistent.",
        basis=f"{' or '.join(map(str, documents))} documents in {laboratory.sets} disjoint sets, "
        "one seed; all layers and heads pooled. Intervals are 95 %, by bootstrap over documents.",
        numbers={
            "drift": [
                {
                    "checkpoint": d.checkpoint.name,
                    "method": d.attention.method,
                    "documents": len(d.attention.sums),
                    "before": d.before.to_dict(),
                    "beyond": d.beyond.to_dict(),
                    "beyond_minus_before": plain(d.difference),
                }
                for d in found
            ]
        },
        headline=f"the part beyond leaves its range by more than the part before for {more} of "
        f"{len(larger)} checkpoints with a bound of pre-training's critical dimension",
        checks=tuple(_checks(laboratory, found)),
        criterion=CRITERION,
        tables=(_table(found),),
        pictures=(
            Picture(
                file="attention.png",
                shows="mean attention score of both parts against relative position, a panel a "
                "checkpoint; the smallest of the larger bases under methods too",
                draw=partial(_draw, found),
            ),
        ),
        definitions=(
            "A part's range is from the lowest to the highest mean of a bin at distances within "
            'T_tune, of the checkpoint as trained. "Leaves by": how far outside of it the farthest '
            'bin past T_extra lies; "shift": the mean past T_extra minus that of the last octave '
            "within T_tune as trained. Both are in widths of the range.",
        ),
    )


def _checks(laboratory: Laboratory, found: Sequence[Drifts]) -> list[Check]:
    larger = [d for d in found if d.larger and d.as_trained]
    leaves = "the part beyond leaves its range by"
    checks = [
        above_zero(f"{leaves} more than the part before", d.name, d.difference) for d in larger
    ]
    checks += [
        within("the part before stays in its range", d.name, d.before.leaves, 0, STAYS)
        for d in larger
    ]
    by_name = {d.name: d for d in found}
    own = [d for d in larger if d.checkpoint.tuned and d.checkpoint.base == theta(d)]
    smallest_pivot = theory.pivot_bases(laboratory.train_length)[2] * 1.05
    for d in found:
        if d.checkpoint.base <= smallest_pivot and d.as_trained:
            statement = f"{leaves} less for a base below β₃ than for that of pre-training"
            checks += [_less(statement, d, other, laboratory.sets) for other in own]
        if d.larger and not d.as_trained and d.checkpoint.name in by_name:
            statement = f"{leaves} less under {d.attention.method} than as trained"
            checks.append(_less(statement, d, by_name[d.checkpoint.name], laboratory.sets))
    return checks


def _less(statement: str, one: Drifts, other: Drifts, sets: int) -> Check:
    at = one.checkpoint.name
    if len(one.attention.sums) != len(other.attention.sums):
        return Check(statement=statement, at=at, holds=None)
    sample = Sample(len(one.attention.sums), sets)
    return below_zero(statement, at, sample.estimate(one.beyond.rows - other.beyond.rows))


def _table(found: Sequence[Drifts]) -> str:
    rows = []
    for d in found:
        row = [d.name, f"{d.checkpoint.bound:.0f}"]
        for part in (d.before, d.beyond):
            row += [
                f"{part.within.value:.2f}",
                with_interval(part.shift, 2, signed=True),
                with_interval(part.leaves, 2),
                spread(part.leaves, 2),
            ]
        rows.append(row)
    headers = ["checkpoint", "T_extra"]
    for name in PARTS:
        headers += [f"{name}: range", "shift", "leaves by", "by set"]
    return table(
        "The parts before and beyond the critical dimension (range in logits, the others in "
        "widths of it)",
        headers,
        rows,
    )


def _draw(found: Sequence[Drifts]) -> Figure:
    """Draw what there is room for: methods of the smallest larger base alone."""
    bases = {
        d.checkpoint.base
        for d in found
        if d.larger and d.as_trained and not d.tuned_longer and d.checkpoint.base != theta(d)
    }
    smallest = min(bases, default=None)
    return draw_attention(
        [
            Scores(
                title=d.name,
                edges=d.attention.edges,
                means=d.attention.sums.sum(0) / (len(d.attention.sums) * d.attention.counts),
                tune_length=d.checkpoint.tune_length,
                bound=d.checkpoint.bound,
            )
            for d in found
            if d.as_trained or (d.checkpoint.base == smallest and not d.tuned_longer)
        ]
    )


def theta(one: Drifts) -> float:
    """Return the base of pre-training."""
    return one.checkpoint.pretrain_theta
