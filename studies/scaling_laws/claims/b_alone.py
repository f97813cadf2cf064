"""arXiv 2405.14591: is it B that orders retrieval, where B is not the base's?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from studies.scaling_laws.claim import Finding, table, tokens, with_interval
from studies.scaling_laws.contexts import DEFINITION, Held, held_alone
from studies.scaling_laws.extended import Extended, extended
from studies.scaling_laws.like_tokens import FARTHEST, feasible_length
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.ranks import spearman
from studies.scaling_laws.retrieved import ENOUGH, reached
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.verdicts import Check, above_zero, below_zero

CRITERION = (
    "rank correlations and differences with their whole interval. A setting's B is of the angles "
    "that it turns pairs by."
)


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    runs = tuned(laboratory)
    settings = untuned(laboratory)
    orders = [_order(laboratory, runs)] if any(one.checkpoint.dropped for one in runs) else []
    if not orders and not settings:
        raise DataError("no retrieval of what has another B than its base's")
    return Finding(
        name="b-alone",
        title="B where it is not the base's",
        source="arXiv 2405.14591",
        claim="Retrieval follows B(m) = Σ cos(m·θ_i) over the pairs, whatever its angles are of.",
        basis=f"{laboratory.documents} documents and the samples of retrieval; every seed of a "
        "tuning by itself. Bootstrap over samples or documents.",
        numbers={
            "tuned": [one.to_dict() for one in runs],
            "orders": plain(orders),
            "untuned": {name: one.to_dict() for name, one in settings.items()},
        },
        headline=_headline(orders, settings),
        checks=tuple(_checks(runs, orders, settings)),
        criterion=CRITERION,
        tables=(*_tuned_tables(runs, orders), *_untuned_tables(settings)),
        definitions=(
            DEFINITION,
            f"B is looked at up to {FARTHEST} tokens. What was tuned without the dimensions beyond "
            "the critical one has a B of the 11 pairs before it alone, which is shorter, while its "
            "base is the same: over all that was tuned at T_train, B's length is not monotone in "
            "the base. Under a method B is of the angles at a distance m in a text of m + 1 "
            "tokens, with what it multiplies pairs by. Needles are found as far as the longest "
            f"measured distance with an accuracy of at least {ENOUGH:.0%}.",
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """What was tuned at T_train, as trained, with B's length.

    Attributes:
        checkpoint: what was measured.
        feasible: up to which distance its B is not negative; None for `FARTHEST` or more.
        finds: the farthest distance found in all rows of the samples, [K].
        sample: of the needles.
        held: its max context.
    """

    checkpoint: Checkpoint
    feasible: int | None
    finds: Floats
    sample: Sample
    held: Held

    @property
    def estimate(self) -> Estimate:
        """The farthest distance found, with its interval."""
        return self.sample.estimate(self.finds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "dropped": self.checkpoint.dropped,
            "feasible_length": self.feasible,
            "finds_as_far_as": plain(self.estimate),
            "max_context": plain(self.held.estimate),
        }


def tuned(laboratory: Laboratory) -> list[Tuned]:
    """Return all seeds of what was tuned at T_train and asked for needles."""
    found = []
    for checkpoint in laboratory.checkpoints:
        retrieval = laboratory.retrieval.get((checkpoint.name, AS_TRAINED))
        if retrieval is None or not checkpoint.tuned:
            continue
        if checkpoint.tune_length != checkpoint.train_length:
            continue
        sample = Sample(len(retrieval.right), laboratory.sets)
        found.append(
            Tuned(
                checkpoint=checkpoint,
                feasible=feasible_length(checkpoint, checkpoint.rope),
                finds=reached(retrieval, sample),
                sample=sample,
                held=held_alone(laboratory, checkpoint),
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Spearman's ρ over what was tuned at T_train.

    Attributes:
        runs: how many.
        b_finds: of B's length and the farthest distance found.
        base_finds: of the base and that.
        more: the first minus the second.
        b_context: of B's length and the max context.
    """

    runs: int
    b_finds: Estimate
    base_finds: Estimate
    more: Estimate
    b_context: Estimate


def _order(laboratory: Laboratory, runs: Sequence[Tuned]) -> Order:
    finds = np.stack([one.finds for one in runs], axis=1)
    contexts = np.stack([one.held.context.values for one in runs], axis=1)
    b = np.array([_tokens(one.feasible) for one in runs])
    base = np.array([one.checkpoint.base for one in runs])
    estimate = laboratory.sample.estimate
    b_finds, base_finds = spearman(b, finds), spearman(base, finds)
    return Order(
        runs=len(runs),
        b_finds=estimate(b_finds),
        base_finds=estimate(base_finds),
        more=estimate(b_finds - base_finds),
        b_context=estimate(spearman(b, contexts)),
    )


def _pairs(runs: Sequence[Tuned]) -> list[tuple[Tuned, Tuned]]:
    """Return what was tuned without those dimensions, each with the same base with them."""
    whole = {one.checkpoint.name: one for one in runs if not one.checkpoint.dropped}
    return [
        (one, whole[name])
        for one in runs
        if one.checkpoint.dropped and (name := one.checkpoint.name.removesuffix("-drop")) in whole
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Untuned:
    """A checkpoint under several settings.

    Attributes:
        settings: each with its B's length, None for `FARTHEST` or more.
        b_finds: Spearman's ρ of B's length and how far needles are found.
        b_keeps: of B's length and how far perplexity is kept.
    """

    settings: tuple[tuple[int | None, Extended], ...]
    b_finds: Estimate
    b_keeps: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "b_finds": plain(self.b_finds),
            "b_keeps": plain(self.b_keeps),
            "feasible_lengths": {one.method: length for length, one in self.settings},
        }


Settings = Mapping[str, Untuned]
"""By checkpoint."""


def untuned(laboratory: Laboratory) -> dict[str, Untuned]:
    """Return the settings of each checkpoint that was asked for needles under several."""
    found: dict[str, list[Extended]] = {}
    for one in extended(laboratory):
        if one.finds is not None:
            found.setdefault(one.checkpoint.name, []).append(one)
    return {name: _untuned(laboratory, some) for name, some in found.items() if len(some) > 2}


def _untuned(laboratory: Laboratory, some: Sequence[Extended]) -> Untuned:
    feasible = [feasible_length(one.checkpoint, one.curve.rope) for one in some]
    b = np.array([_tokens(length) for length in feasible])
    finds = np.stack([one.finds.rows for one in some if one.finds is not None], axis=1)
    keeps = np.stack([one.keeps.rows for one in some], axis=1)
    estimate = laboratory.sample.estimate
    return Untuned(
        settings=tuple(zip(feasible, some, strict=True)),
        b_finds=estimate(spearman(b, finds)),
        b_keeps=estimate(spearman(b, keeps)),
    )


def _checks(runs: Sequence[Tuned], orders: Sequence[Order], settings: Settings) -> list[Check]:
    checks = [
        below_zero(
            "at one base, a shorter B finds needles less far",
            dropped.checkpoint.name,
            dropped.sample.estimate(dropped.finds - whole.finds),
        )
        for dropped, whole in _pairs(runs)
    ]
    for order in orders:
        at = f"T_tune {runs[0].checkpoint.tune_length}"
        checks.append(above_zero("B orders retrieval better than the base", at, order.more))
    for name, one in settings.items():
        statement = "without tuning, a setting with a longer B finds needles further"
        checks.append(above_zero(statement, name, one.b_finds))
    return checks


def _headline(orders: Sequence[Order], settings: Settings) -> str:
    said = [
        f"Spearman's ρ with how far needles are found, tuned at T_train: {one.b_finds.value:.2f} "
        f"of B's length, {one.base_finds.value:.2f} of the base"
        for one in orders
    ]
    said += [
        f"{name} under {len(one.settings)} settings without tuning: {one.b_finds.value:.2f} of "
        "B's length"
        for name, one in settings.items()
    ]
    return "; ".join(said)


def _tuned_tables(runs: Sequence[Tuned], orders: Sequence[Order]) -> list[str]:
    if not orders:
        return []
    rows = [
        [
            one.checkpoint.name,
            base_label(one.checkpoint.base),
            _feasible(one.feasible),
            tokens(one.estimate, FARTHEST),
            tokens(one.held.estimate, one.held.context.longest),
        ]
        for one in runs
    ]
    lengths = table(
        "Tuned at T_train, as trained, in tokens",
        ["checkpoint", "base", "B(m) ≥ 0 up to", "finds as far as", "max context"],
        rows,
    )
    numbers = [
        [
            str(one.runs),
            *(with_interval(each, 2) for each in (one.b_finds, one.base_finds)),
            with_interval(one.more, 2, signed=True),
            with_interval(one.b_context, 2),
        ]
        for one in orders
    ]
    headers = ["runs", "B, finds", "base, finds", "the first more", "B, max context"]
    return [lengths, table("Spearman's rank correlations over these", headers, numbers)]


def _untuned_tables(settings: Settings) -> list[str]:
    return [
        table(
            f"{name} under methods, without tuning: ρ of B's length with how far needles are found "
            f"{with_interval(one.b_finds, 2)}, with how far perplexity is kept "
            f"{with_interval(one.b_keeps, 2)}; in tokens",
            ["method", "B(m) ≥ 0 up to", "finds as far as", "keeps perplexity up to"],
            [
                [
                    each.method,
                    _feasible(feasible),
                    "–" if each.finds is None else each.finds.text(),
                    each.keeps.text(),
                ]
                for feasible, each in one.settings
            ],
        )
        for name, one in settings.items()
    ]


def _tokens(length: int | None) -> float:
    return float(FARTHEST if length is None else length)


def _feasible(length: int | None) -> str:
    return f"> {FARTHEST}" if length is None else str(length)
