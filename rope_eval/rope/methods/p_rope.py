"""p-RoPE: only the first share of the pairs, the highest frequencies, rotates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import ConfigForm, Effect, Method
from rope_eval.rope.values import Field, number

if TYPE_CHECKING:
    from torch import Tensor


def _effect(facts: Facts) -> Effect:
    rotating = int(facts.spec.rotated_share * facts.geometry.rotary_dim // 2)

    def frequencies(inv_freq: Tensor, alpha: float) -> Tensor:
        kept = inv_freq.clone()
        kept[rotating:] = 0
        return kept

    return Effect(frequencies=frequencies, effective_from=2 if rotating < facts.pairs else math.inf)


def _parse(name: str, value: object) -> float:
    share = number(least=0.0)(name, value)
    if share > 1:
        raise SpecError(f"{name} must be from 0 to 1, a share of the pairs, got {value}")
    return share


METHOD = Method(
    name="p-RoPE",
    says="int(p·d/2) pairs, those of the highest frequencies, rotate; the frequency of others is 0",
    source="arXiv 2410.06205; transformers' `proportional`, its factor being `linear_factor`",
    frequencies="mask",
    fields=(
        Field(
            name="rotated_share",
            default=1.0,
            type=float,
            parse=_parse,
            says="p-RoPE, 0 ≤ p ≤ 1: the share of the pairs that rotates",
            live=("", "rotated_share=0.5"),
        ),
    ),
    effect=_effect,
    examples=("rotated_share=0.5", "rotated_share=0.25"),
    neutral=("rotated_share=1",),
    config=ConfigForm(
        rope_type="proportional",
        words={"partial_rotary_factor": "rotated_share", "factor": "linear_factor"},
        meant=lambda words, ratio: {"factor": 1.0, **words},
    ),
    checked=(
        Checked(
            code="google-deepmind/gemma, gemma/gm/math/_positional_embeddings.py",
            commit="7691fd4",
            ran="apply_rope, in JAX, prefill and decoding, in transformers 4.31",
            settings=("rotated_share=0.35", "rotated_share=0.25,linear_factor=4"),
            off=9.7e-6,
        ),
    ),
)
