"""Figs. 6, 8 and 10: mean attention scores before and beyond the critical dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.report.laboratory.finding import (
    Check,
    Finding,
    Picture,
    decided,
    markdown_table,
    spread,
    with_interval,
)
from rope_eval.report.laboratory.runs import AS_TRAINED, Attention, Laboratory
from rope_eval.report.laboratory.sampling import Estimate, Floats, Sample

PARTS = ("before", "beyond")


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """How far one part of the mean score leaves what tuning has shown, past the bound.

    The part's range is from the lowest to the highest bin mean at distances of 1 … T_tune − 1.

    Attributes:
        within: Width of the range, in units of the score (logits).
        shift: Mean score past the bound minus that at T_tune / 2 … T_tune − 1, over the range.
        leaves: How far the farthest bin past the bound lies outside of the range, over its width;
            0 where none does.
        rows: Of ``leaves`` in all rows of the sample, [K].
    """

    within: Estimate
    shift: Estimate
    leaves: Estimate
    rows: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "range_within": self.within.to_dict(),
            "shift_over_range": self.shift.to_dict(),
            "leaves_range_by": self.leaves.to_dict(),
        }


def drift(attention: Attention, part: int, sample: Sample) -> Drift | None:
    """Return the drift of a part; None where no bin lies within, or none past the bound.

    Args:
        attention: Scores by distance.
        part: 0 before the critical dimension, 1 beyond it.
        sample: Rows of the documents.
    """
    tune, bound = attention.checkpoint.tune_length, attention.checkpoint.bound
    first, last = attention.edges[:-1], attention.edges[1:] - 1
    inside = (first >= 1) & (last < tune)
    recent, past = inside & (first >= tune // 2), first > bound
    if not (inside.any() and recent.any() and past.any()):
        return None
    sums = sample.weights @ attention.sums[:, part]
    means = sums / (sample.totals * attention.counts)
    low, high = means[:, inside].min(1), means[:, inside].max(1)
    width = high - low

    def pooled(bins: Any) -> Floats:
        total: Floats = sums[:, bins].sum(1) / (sample.totals[:, 0] * attention.counts[bins].sum())
        return total

    outside = np.maximum(means - high[:, None], low[:, None] - means)[:, past].max(1)
    leaves = np.maximum(outside, 0) / width
    return Drift(
        within=sample.estimate(width),
        shift=sample.estimate((pooled(past) - pooled(recent)) / width),
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
    def name(self) -> str:
        """The checkpoint, and the method unless it is as trained."""
        method = self.attention.method
        name = self.attention.checkpoint.name
        return name if method == AS_TRAINED else f"{name}, {method}"


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
        sample = Sample(len(attention.sums), laboratory.sets)
        before, beyond = (drift(attention, part, sample) for part in (0, 1))
        if before is not None and beyond is not None:
            difference = sample.estimate(beyond.rows - before.rows)
            found.append(
                Drifts(attention=attention, before=before, beyond=beyond, difference=difference)
            )
    return found


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from rope_eval.report.laboratory.figures import attention as figures

    found = drifts(laboratory)
    if not found:
        raise DataError("no attention scores past the bound of a checkpoint")
    documents = sorted({len(d.attention.sums) for d in found})
    checks = _checks(laboratory, found)
    larger = [d for d in found if _is_larger(laboratory, d)]
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
                    "checkpoint": d.attention.checkpoint.name,
                    "method": d.attention.method,
                    "documents": len(d.attention.sums),
                    "before": d.before.to_dict(),
                    "beyond": d.beyond.to_dict(),
                    "beyond_minus_before": d.difference.to_dict(),
                }
                for d in found
            ]
        },
        headline=f"the part beyond leaves its range by more than the part before for {more} of "
        f"{len(larger)} bases of at least that of pre-training",
        checks=tuple(checks),
        tables=(_table(found),),
        pictures=(
            Picture(
                file="attention.png",
                shows="mean attention score of both parts against relative position, a panel a "
                "checkpoint",
                draw=partial(figures.draw_attention, [(d.name, d.attention) for d in found]),
            ),
        ),
        definitions=(
            "A part's range is from the lowest to the highest mean of a bin at distances within "
            'T_tune. "Leaves by": how far outside of it the farthest bin past T_extra lies; '
            '"shift": the mean past T_extra minus that of the last octave within T_tune. Both '
            "are in widths of the range.",
        ),
    )


def _is_larger(laboratory: Laboratory, one: Drifts) -> bool:
    """Return whether it is a larger base, or that of pre-training, as trained at T_train."""
    checkpoint = one.attention.checkpoint
    return (
        one.attention.method == AS_TRAINED
        and checkpoint.tune_length == laboratory.train_length
        and checkpoint.base >= laboratory.pretrain_theta
    )


def _checks(laboratory: Laboratory, found: Sequence[Drifts]) -> list[Check]:
    checks = [
        Check(
            statement=f"{d.name}: the part beyond leaves its range by more than the part before",
            holds=decided(d.difference, above=True),
        )
        for d in found
        if _is_larger(laboratory, d)
    ]
    by_name = {d.name: d for d in found}
    own = [
        d
        for d in found
        if _is_larger(laboratory, d)
        and d.attention.checkpoint.tuned
        and d.attention.checkpoint.base == laboratory.pretrain_theta
    ]
    smallest_pivot = theory.pivot_bases(laboratory.train_length)[2] * 1.05
    for d in found:
        checkpoint, method = d.attention.checkpoint, d.attention.method
        small = checkpoint.base <= smallest_pivot and method == AS_TRAINED
        pairs = [(d, other) for other in own if small]
        if method != AS_TRAINED and checkpoint.name in by_name:
            pairs.append((d, by_name[checkpoint.name]))
        for one, other in pairs:
            checks.append(
                Check(
                    statement=f"the part beyond leaves its range by less for {one.name} than for "
                    f"{other.name}",
                    holds=_less(one, other, laboratory.sets),
                )
            )
    return checks


def _less(one: Drifts, other: Drifts, sets: int) -> bool | None:
    if len(one.attention.sums) != len(other.attention.sums):
        return None
    sample = Sample(len(one.attention.sums), sets)
    return decided(sample.estimate(one.beyond.rows - other.beyond.rows), above=False)


def _table(found: Sequence[Drifts]) -> str:
    rows = []
    for d in found:
        row = [d.name, f"{d.attention.checkpoint.bound:.0f}"]
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
    return (
        "The parts before and beyond the critical dimension (range in logits, the others in "
        f"widths of it):\n\n{markdown_table(headers, rows)}"
    )
