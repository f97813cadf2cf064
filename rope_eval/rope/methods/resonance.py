"""Resonance RoPE: wavelengths rounded to whole tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, flag

if TYPE_CHECKING:
    from torch import Tensor


def _effect(facts: Facts) -> Effect:
    def frequencies(inv_freq: Tensor, alpha: float) -> Tensor:
        # of a pair that stands still the wavelength is infinite, and stays so
        wavelengths = (2 * math.pi / inv_freq).round().clamp(min=1)
        return 2 * math.pi / wavelengths

    return Effect(frequencies=frequencies)


METHOD = Method(
    name="Resonance",
    says="each wavelength 2π/θ rounded to a whole number of tokens, after all that scales it",
    source="arXiv 2403.00071; sheryc/resonance_rope",
    frequencies="mask",
    fields=(
        Field(
            name="resonance",
            default=False,
            type=bool,
            parse=flag,
            says="Resonance: wavelengths of whole tokens",
            live=("", "resonance=true"),
        ),
    ),
    effect=_effect,
    examples=("resonance=true",),
    neutral=("resonance=false",),
    checked=(
        Checked(
            code="sheryc/resonance_rope, LlamaYaRNScaledResonanceRotaryEmbedding.py",
            commit="4a7f5a7",
            ran=(
                "prefill and decoding, in transformers 4.31, its angle of a pair given to both "
                "dimensions"
            ),
            settings=(
                "resonance=true",
                "resonance=true,yarn_factor=4",
            ),
            off=1.4e-5,
            readings=(
                "it rounds wavelengths of float32, ours those of float64: other whole numbers, by "
                "3 in 10⁷ at most, for 2 pairs of 64 at the base 10⁶ and for 7 at 10⁷. Its dynamic "
                "YaRN raises an error"
            ),
        ),
    ),
    place=200,
)
