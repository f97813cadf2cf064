"""Scalable softmax: scores grow with the logarithm of the number of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number, optional

if TYPE_CHECKING:
    from torch import Tensor


def _effect(facts: Facts) -> Effect:
    slope: float = facts.spec.scalable_softmax

    def query_scale(positions: Tensor) -> Tensor:
        return (slope * (positions + 1).double().log()).float()[..., None]

    return Effect(query_scale=query_scale)


METHOD = Method(
    name="scalable softmax",
    says=(
        "scores of the query at t, which sees t keys, times s·ln t: without its maximum, what log "
        "scaling is for s = 1/ln T_ref"
    ),
    source="arXiv 2501.19399, Eq. 3",
    fields=(
        Field(
            name="scalable_softmax",
            default=None,
            type=float | None,
            parse=optional(number(above=0.0)),
            says="scalable softmax's s > 0 (the paper learns it, for each head; here it is one)",
            live=("", "scalable_softmax=0.6"),
        ),
    ),
    effect=_effect,
    examples=("scalable_softmax=0.6",),
    neutral=("scalable_softmax=none",),
)
