"""xPos as a soft window: each pair fades with the distance at its own rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, flag

if TYPE_CHECKING:
    from torch import Tensor

GAMMA = 0.4  # γ of Eq. 17
SPAN = 8  # reference lengths a block of queries may span: ζ₀^(−8/2) = 150 fits half precision


def _effect(facts: Facts) -> Effect:
    reference, pairs = facts.t_ref(), facts.pairs

    def pair_scale(offsets: Tensor) -> Tensor:
        """Return ζ_n^(offset / T_ref): near keys stay near 1, and far ones fade to zero."""
        import torch

        n = torch.arange(pairs, device=offsets.device, dtype=torch.float64)
        zeta = (GAMMA + n / pairs) / (GAMMA + 1)
        exponent = offsets[..., None].double() / reference
        return (exponent * zeta.log()).exp().float()

    return Effect(
        pair_scale=pair_scale,
        longest_block=max(1, int(SPAN * reference)),
        reference_length=reference,
    )


METHOD = Method(
    name="xPos",
    says="pair n of the product of a query and a key times ζ_n^((t−s)/T_ref): a soft window",
    source="arXiv 2310.05209, Eq. 17",
    needs=("train_length", "bound"),
    fields=(
        Field(
            name="xpos",
            default=False,
            type=bool,
            parse=flag,
            says="xPos as a soft window (Eq. 17)",
            live=("", "xpos=true"),
        ),
    ),
    effect=_effect,
    examples=("xpos=true",),
    neutral=("xpos=false",),
    checked=(
        Checked(
            code="microsoft/torchscale, torchscale/component/xpos_relative_position.py",
            commit="4d1e0e8",
            ran=(
                "prefill, in transformers 4.31, dimensions reordered, for neighbours make a pair "
                "there"
            ),
            settings=("xpos=true,reference_length=20",),
            off=1.0e-5,
            readings="its scale_base, 512 where none is given, is T_ref here, as in Eq. 17",
        ),
    ),
    place=7,
)
