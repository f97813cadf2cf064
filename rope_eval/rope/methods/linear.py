"""Position interpolation: every frequency divided by one factor."""

from __future__ import annotations

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import ConfigForm, Effect, Method
from rope_eval.rope.values import Field, number


def _effect(facts: Facts) -> Effect:
    factor = facts.spec.linear_factor
    return Effect(frequencies=lambda inv_freq, alpha: inv_freq / factor)


METHOD = Method(
    name="position interpolation",
    says="every frequency divided by λ",
    source="arXiv 2306.15595",
    frequencies="scale",
    fields=(
        Field(
            name="linear_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="position interpolation, λ ≥ 1: every frequency is divided by it",
            live=("", "linear_factor=2"),
        ),
    ),
    effect=_effect,
    examples=("linear_factor=3",),
    neutral=("linear_factor=1",),
    config=ConfigForm(rope_type="linear", words={"factor": "linear_factor"}),
    checked=(
        Checked(
            code="jquesnelle/yarn, LlamaLinearScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill and decoding, in transformers 4.31",
            settings=("linear_factor=4",),
            off=1.0e-5,
        ),
    ),
    place=2,
)
