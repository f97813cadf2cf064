"""HardClip and CoPE: the lowest frequencies to 0, at once or along a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number

if TYPE_CHECKING:
    from torch import Tensor


def _effect(facts: Facts) -> Effect:
    ((name, count),) = _asked(facts.spec)
    if count > facts.pairs:
        raise SpecError(
            f"{name} must be at most the {facts.pairs} pairs that this checkpoint rotates, got "
            f"{count}"
        )

    def frequencies(inv_freq: Tensor, alpha: float) -> Tensor:
        tapered = inv_freq.clone()
        tapered[-count:] *= _taper(count) if name == "cope" else 0
        return tapered

    return Effect(frequencies=frequencies)


def _taper(count: int) -> Tensor:
    """Return ½(1 + cos πj/(count − 1)), j = 0 … count − 1: from 1 to 0, float64."""
    import torch

    if count == 1:  # the last is 0
        return torch.zeros(1, dtype=torch.float64)
    j = torch.arange(count, dtype=torch.float64)
    taper = (1 + (j * math.pi / (count - 1)).cos()) / 2
    taper[-1] = 0
    return taper


def _asked(spec: Setting) -> list[tuple[str, int]]:
    return [(name, getattr(spec, name)) for name in ("hard_clip", "cope") if getattr(spec, name)]


def _check(spec: Setting) -> None:
    if len(_asked(spec)) > 1:
        raise SpecError("hard_clip cannot be combined with cope: both clip the same pairs")


def _count(name: str, value: object) -> int:
    found = number(least=0)(name, value)
    if found != int(found):
        raise SpecError(f"{name} must be a whole number of pairs, got {value}")
    return int(found)


METHOD = Method(
    name="HardClip, CoPE",
    says=(
        "the lowest frequencies to 0, after all that scales them: at once (HardClip, a near "
        "relative of p-RoPE and of drop), or times ½(1 + cos) from 1 to 0 (CoPE)"
    ),
    source="arXiv 2602.05258; hrlics/CoPE",
    frequencies="mask",
    fields=(
        Field(
            name="hard_clip",
            default=0,
            type=int,
            parse=_count,
            says="HardClip: how many pairs, of the lowest frequencies, do not rotate (theirs: 20)",
            live=("", "hard_clip=6"),
            per_pair=True,
        ),
        Field(
            name="cope",
            default=0,
            type=int,
            parse=_count,
            says="CoPE: how many pairs, of the lowest frequencies, are tapered (theirs: 20)",
            live=("", "cope=8"),
            per_pair=True,
        ),
    ),
    effect=_effect,
    check=_check,
    examples=("cope=8", "hard_clip=6"),
    neutral=("hard_clip=0,cope=0",),
    checked=(
        Checked(
            code="hrlics/CoPE, modeling_cope.py",
            commit="ed52ba5",
            ran="prefill and decoding, in transformers 4.50",
            settings=(
                "cope=20",
                "hard_clip=20",
                "cope=20,yarn_factor=4",
            ),
            off=4.1e-5,
            readings=(
                "it takes 20 pairs whatever the head, or all where there are fewer. With "
                "`dynamic` scaling its HardClip becomes CoPE once a text outgrows the config: "
                "5.8 nats; ours stays"
            ),
        ),
    ),
)
