"""Measured max contexts of checkpoints, against the law's T_extra: what several findings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rope_eval.labels import base_label
from rope_eval.local_loss import WINDOW
from rope_eval.report.figures.contexts import MeasuredContext
from studies.scaling_laws import scores, tunings
from studies.scaling_laws.claim import length, tokens
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, plain
from studies.scaling_laws.scores import AS_JUDGED, Context, Rule
from studies.scaling_laws.verdicts import Check, within

FACTOR = 1.25
"""A measured max context within this factor of T_extra, either way, follows the law."""

DEFINITION = (
    "The measured max context is where the first window, from T_tune on, begins whose local loss "
    f"(nats a token in (L / {WINDOW:.3g}, L], pooled over documents) is more than "
    f"{scores.MARGIN} nats above the in-window one: that of the same tokens, by the same model, "
    "each with the last T_tune / 2 to T_tune tokens as its whole context. It is no less than "
    "T_tune by its definition, and beyond the longest length measured where no window is lost."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """A checkpoint's measured max context, and the law's."""

    checkpoint: Checkpoint
    context: Context
    estimate: Estimate

    @property
    def beyond(self) -> bool:
        """Whether the context is longer than anything measured."""
        return self.estimate.value >= self.context.longest

    @property
    def above(self) -> bool:
        """Whether the base is above the critical one of its T_tune.

        Elsewhere T_extra is T_tune, and a measured max context is no less than that by definition.
        """
        return self.checkpoint.base > self.checkpoint.critical_base

    @property
    def ratio(self) -> float:
        """Measured over T_extra; where the context is beyond, at least this."""
        return self.estimate.value / self.checkpoint.bound

    @property
    def by_set(self) -> str:
        """The values in each set."""
        return " / ".join(length(value, self.context.longest) for value in self.estimate.sets)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "tune_length": self.checkpoint.tune_length,
            "seed": self.checkpoint.seed,
            "critical_base": self.checkpoint.critical_base,
            "extrapolation_bound": self.checkpoint.bound,
            "max_context": plain(self.estimate),
            "beyond_longest": self.beyond,
            "longest": self.context.longest,
            "ratio": self.ratio,
        }

    def point(self) -> MeasuredContext:
        """Return what a figure shows of it."""
        return MeasuredContext(
            base=self.checkpoint.base,
            bound=self.checkpoint.bound,
            value=self.estimate.value,
            low=self.estimate.low,
            high=self.estimate.high,
            beyond=self.beyond,
            above=self.above,
        )

    def cells(self) -> list[str]:
        """Return the cells of a table: base, T_tune, T_extra, measured, by set, ratio."""
        return [
            base_label(self.checkpoint.base),
            str(self.checkpoint.tune_length),
            f"{self.checkpoint.bound:.0f}",
            tokens(self.estimate, self.context.longest),
            self.by_set,
            ("> " if self.beyond else "") + f"{self.ratio:.2f}",
        ]


HEADERS = ["base", "T_tune", "T_extra", "measured max context", "by set", "measured / T_extra"]


def held(laboratory: Laboratory, checkpoint: Checkpoint, rule: Rule = AS_JUDGED) -> Held:
    """Measure the max context of a checkpoint's tuning, as it was trained, over its seeds."""
    sample = laboratory.sample
    curve, in_window = tunings.with_window(laboratory, checkpoint)
    context = scores.max_context(curve, in_window, sample, rule)
    return Held(checkpoint=checkpoint, context=context, estimate=sample.estimate(context.values))


def held_alone(laboratory: Laboratory, checkpoint: Checkpoint) -> Held:
    """Measure the max context of one seed: its interval is over documents alone."""
    sample = laboratory.sample
    curves = laboratory.trained(checkpoint), laboratory.in_window(checkpoint)
    context = scores.max_context(*curves, sample)
    return Held(checkpoint=checkpoint, context=context, estimate=sample.estimate(context.values))


def follows(statement: str, point: Held, *, at: str) -> Check:
    """Return the check that a context is T_extra within `FACTOR`, either way."""
    bound = point.checkpoint.bound
    return within(statement, at, point.estimate, bound / FACTOR, bound * FACTOR)


def variants(laboratory: Laboratory) -> dict[str, Rule]:
    """Return the rules that are tried beside the one that is judged by, the latter first."""
    lengths = min(
        (laboratory.trained(c).lengths for c in laboratory.checkpoints), key=lambda some: some[-1]
    )
    rules = {f"as judged ({scores.MARGIN:g} nats, up to {lengths[-1]}, all lengths)": AS_JUDGED}
    rules |= {f"margin {margin:g} nats": Rule(margin=margin) for margin in (0.1, 0.2, 0.5, 0.7)}
    rules |= {
        f"ceiling {longest} tokens": Rule(longest=longest)
        for longest in (lengths[-1] // 2, lengths[-1] // 4)
        if longest > max(laboratory.tune_lengths, default=0)
    }
    steps = {2: "every second length", 4: "every fourth length"}
    return rules | {f"grid: {words}": Rule(step=step) for step, words in steps.items()}
