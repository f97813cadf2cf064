"""The rotary base."""

from __future__ import annotations

import math

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number, optional


def _effect(facts: Facts) -> Effect:
    same = facts.rope_theta == facts.geometry.rope_theta
    return Effect(
        base=lambda theta, alpha: facts.rope_theta, effective_from=math.inf if same else 2
    )


METHOD = Method(
    name="base",
    says="the rotary base: θ_n = β^(−2n/d)",
    source="arXiv 2104.09864",
    frequencies="base",
    fields=(
        Field(
            name="rope_theta",
            default=None,
            type=float | None,
            parse=optional(number(above=1.0)),
            says="the rotary base β > 1; None keeps the model's own",
            live=("", "rope_theta=500"),
        ),
    ),
    effect=_effect,
    examples=("rope_theta=500", "rope_theta=40000"),
    neutral=("rope_theta=10000",),
    place=1,
)
