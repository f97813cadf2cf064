"""Resonance RoPE: wavelengths rounded to whole tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Field, Method, flag

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
    place=200,
)
