"""What cos and sin are multiplied by: in place of what a method multiplies them by, or alone."""

from __future__ import annotations

import math

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number, optional


def _effect(facts: Facts) -> Effect:
    spec = facts.spec
    yarn = spec.yarn_factor != 1 or spec.dynamic_yarn is not None
    replaces = yarn or spec.longrope_ratio != 1 or spec.string_shift is not None
    return Effect(
        attention_factor=lambda alpha: spec.attention_factor,
        effective_from=math.inf if spec.attention_factor == 1 and not replaces else 2,
    )


METHOD = Method(
    name="attention factor",
    says="cos and sin times a factor, in place of that of YaRN, LongRoPE or STRING",
    source="arXiv 2309.00071; transformers' `attention_factor`",
    fields=(
        Field(
            name="attention_factor",
            default=None,
            type=float | None,
            parse=optional(number(above=0.0)),
            says=(
                "what cos and sin are multiplied by, so that scores are by its square (at the "
                "dimensions that are rotated); None takes that of YaRN, LongRoPE and STRING"
            ),
            live=("yarn_factor=4", "yarn_factor=4,attention_factor=2"),
        ),
    ),
    effect=_effect,
    examples=("attention_factor=1.6",),
    neutral=("attention_factor=1",),
)
