"""NTK-by-parts: each pair kept, stretched by the base, or interpolated, by how often it turns.

Not the ramp of the YaRN paper's Section 3.2, which leaves the middle step out: that is yarn_factor
with attention_factor=1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods.yarn import pair_with_rotations, ramp
from rope_eval.rope.values import Field, number

if TYPE_CHECKING:
    from torch import Tensor

NTK_TURNS = (1.25, 0.75)  # turns in train_length: above the first NTK, below the second linear
KEPT_TURNS = (16.0, 2.0)  # above the first as without it, below the second as above


def _effect(facts: Facts) -> Effect:
    factor: float = facts.spec.ntk_parts_factor
    length = facts.scaled_from
    d, theta = facts.geometry.rotary_dim, facts.rope_theta

    def share(turns: tuple[float, float]) -> Tensor:
        low, high = (
            pair_with_rotations(some, rotary_dim=d, rope_theta=theta, length=length)
            for some in turns
        )
        return ramp(max(math.floor(low), 0), min(max(math.ceil(high), 0), d - 1), d // 2)

    def frequencies(plain: Tensor, alpha: float) -> Tensor:
        import torch

        n = torch.arange(d // 2, dtype=torch.float64)
        stretched = plain * factor ** (-2 * n / (d - 2))
        linear, scaled = share(NTK_TURNS), share(KEPT_TURNS)
        mixed = plain / factor * linear + stretched * (1 - linear)
        return mixed * scaled + plain * (1 - scaled)

    return Effect(frequencies=frequencies)


METHOD = Method(
    name="NTK-by-parts",
    says=(
        "pairs that turn more than 16 times in the original length kept, those that turn less than "
        "once interpolated, those between as under fixed NTK, with ramps"
    ),
    source="bloc97; jquesnelle/yarn, LlamaPartNTKScaledRotaryEmbedding",
    frequencies="set",
    needs=("train_length",),
    fields=(
        Field(
            name="ntk_parts_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="NTK-by-parts, factor ≥ 1; the original length is train_length",
            live=("", "ntk_parts_factor=4"),
        ),
    ),
    effect=_effect,
    examples=("ntk_parts_factor=4",),
    untuned=lambda made_for, length: f"ntk_parts_factor={length / made_for:.4g}",
    neutral=("ntk_parts_factor=1",),
    checked=(
        Checked(
            code="jquesnelle/yarn, LlamaPartNTKScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill and decoding, in transformers 4.31",
            settings=(
                "ntk_parts_factor=4",
                "ntk_parts_factor=4,train_length=7",
            ),
            off=1.1e-5,
            readings=(
                "with heads of 128 dimensions and an original length of 10 tokens or fewer, one "
                "of its ramps runs backwards and no pair is scaled; ours is cut at the first "
                "pair"
            ),
        ),
    ),
    place=4,
)
