"""Fixed NTK: one factor on the base, whatever the length."""

from __future__ import annotations

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number


def _effect(facts: Facts) -> Effect:
    d = facts.geometry.rotary_dim
    factor = facts.spec.ntk_alpha ** (d / (d - 2))
    return Effect(base=lambda theta, alpha: theta * factor)


METHOD = Method(
    name="fixed NTK",
    says="the base becomes β·α^(d/(d−2))",
    source="bloc97",
    frequencies="scale",
    fields=(
        Field(
            name="ntk_alpha",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="fixed NTK (bloc97), α ≥ 1: the base becomes β·α^(d/(d−2))",
            live=("", "ntk_alpha=4"),
        ),
    ),
    effect=_effect,
    examples=("ntk_alpha=8",),
    untuned=lambda made_for, length: f"ntk_alpha={length / made_for:.4g}",
    neutral=("ntk_alpha=1",),
    checked=(
        Checked(
            code="jquesnelle/yarn, LlamaNTKScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill and decoding, in transformers 4.31",
            settings=("ntk_alpha=8",),
            off=1.1e-5,
        ),
    ),
    place=3,
)
