"""Leaky ReRoPE: exact positions within a window, and slower ones beyond it."""

from __future__ import annotations

import math

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import checks, fitting_ratio, refused, whole
from rope_eval.rope.position_maps import leaky_rerope
from rope_eval.rope.values import Field, number, optional


def _effect(facts: Facts) -> Effect:
    window, factor = facts.spec.leaky_rerope_window, facts.spec.leaky_rerope_factor
    if factor == 1:
        return Effect(effective_from=math.inf)
    return Effect(position_map=leaky_rerope(window, factor), effective_from=window + 2)


METHOD = Method(
    name="Leaky ReRoPE",
    says="a key at the distance d ≥ w is seen at w + (d − w)/k",
    source="Su, github.com/bojone/rerope, without the log scale of its file: that is `log_scale`",
    fields=(
        Field(
            name="leaky_rerope_window",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="Leaky ReRoPE's window w in tokens",
            live=(
                "leaky_rerope_window=4,leaky_rerope_factor=16",
                "leaky_rerope_window=24,leaky_rerope_factor=16",
            ),
        ),
        Field(
            name="leaky_rerope_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="its k ≥ 1: distances beyond the window grow k times slower",
            live=("leaky_rerope_window=8", "leaky_rerope_window=8,leaky_rerope_factor=16"),
        ),
    ),
    effect=_effect,
    maps_positions=True,
    in_probe={"leaky_rerope_window": 4},
    check=checks("leaky_rerope_window", "leaky_rerope_factor"),
    not_served=refused("leaky_rerope_window"),
    examples=("leaky_rerope_window=16,leaky_rerope_factor=7.5",),
    untuned=lambda made_for, length: (
        f"leaky_rerope_window={made_for // 4},"
        f"leaky_rerope_factor={fitting_ratio(made_for // 4, made_for, length)}"
    ),
    neutral=("leaky_rerope_window=8", "leaky_rerope_window=4096,leaky_rerope_factor=16"),
    checked=(
        Checked(
            code="bojone/rerope, leaky_rerope_patch.py",
            commit="acfe788",
            ran="prefill and decoding, in transformers 4.31",
            settings=(
                "leaky_rerope_window=16,leaky_rerope_factor=8,log_scale=true,reference_length=32",
            ),
            off=1.2e-5,
            readings=(
                "its file always multiplies the query at t by max(1, ln t / ln T), which is "
                "`log_scale`, a field of its own here: 3.4 nats without it; there w·k must be "
                "whole, here not"
            ),
        ),
    ),
    place=51,
)
