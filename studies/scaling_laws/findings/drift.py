"""How far mean attention scores leave, past the bound, what tuning has shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Attention, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """How far one part of the mean score leaves what tuning has shown, past the bound.

    The part's range is from the lowest to the highest bin mean at distances of 1 … T_tune − 1, of
    the checkpoint as it was trained.

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


def drift(attention: Attention, trained: Attention, part: int, sample: Sample) -> Drift | None:
    """Return the drift of a part; None where no bin lies within, or none past the bound.

    Args:
        attention: Scores by distance.
        trained: Those of the same checkpoint as it was trained, of the same documents and bins.
        part: 0 before the critical dimension, 1 beyond it.
        sample: Rows of the documents.
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
