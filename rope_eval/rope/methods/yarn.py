"""YaRN: high frequencies kept, low ones interpolated, a ramp between, and a temperature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import FACTOR, Effect, Field, Method, number

if TYPE_CHECKING:
    from torch import Tensor

BETA_FAST, BETA_SLOW = 32.0, 1.0  # rotations in train_length where the ramp begins and ends


def yarn_frequencies(plain: Tensor, rope_theta: float, factor: float, train_length: int) -> Tensor:
    """Return YaRN's frequencies of the plain ones ``[F]``, as `transformers` computes them.

    Source: arXiv 2309.00071, with its β_fast = 32 and β_slow = 1.
    """
    import torch

    rotary_dim = 2 * len(plain)

    def pair_with_rotations(rotations: float) -> float:
        wavelength = train_length / (rotations * 2 * math.pi)
        return rotary_dim * math.log(wavelength) / (2 * math.log(rope_theta))

    low = max(math.floor(pair_with_rotations(BETA_FAST)), 0)
    high = min(math.ceil(pair_with_rotations(BETA_SLOW)), rotary_dim - 1)
    pairs = torch.arange(len(plain), dtype=torch.float64)
    ramp = ((pairs - low) / (high - low if high != low else 0.001)).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp)


def _effect(facts: Facts) -> Effect:
    factor, train_length = facts.spec.yarn_factor, facts.scaled_from
    return Effect(
        frequencies=lambda plain, alpha: yarn_frequencies(
            plain, facts.rope_theta, factor, train_length
        ),
        attention_factor=0.1 * math.log(factor) + 1.0,
    )


METHOD = Method(
    name="YaRN",
    says="low frequencies interpolated, high ones kept, cos and sin times 0.1·ln(factor) + 1",
    source="arXiv 2309.00071",
    frequencies="set",
    needs=("train_length",),
    fields=(
        Field(
            name="yarn_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says=("YaRN as `transformers` computes it, factor ≥ 1, its attention factor included"),
            live=("", "yarn_factor=4"),
        ),
    ),
    effect=_effect,
    examples=("yarn_factor=4",),
    neutral=("yarn_factor=1",),
    rope_type=("yarn", f"yarn_factor={FACTOR}"),
    place=4,
)
