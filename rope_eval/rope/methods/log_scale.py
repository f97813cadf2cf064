"""Log-scaled attention: scores grow with the logarithm of the position."""

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
    reference = facts.t_ref()

    def query_scale(positions: Tensor) -> Tensor:
        log_t = (positions + 1).double().log() / math.log(reference)
        return log_t.clamp(min=1.0).float()[..., None]

    return Effect(
        query_scale=query_scale,
        reference_length=reference,
        effective_from=math.floor(reference) + 1,
    )


METHOD = Method(
    name="log-scaled attention",
    says="scores of the query at t times max(1, log_Tref t); with T_ref = T_train Qwen's log-n",
    source="arXiv 2310.05209, Eq. 16",
    needs=("train_length", "bound"),
    fields=(
        Field(
            name="log_scale",
            default=False,
            type=bool,
            parse=flag,
            says="log-scaled attention (Eq. 16): scores of the query at t times max(1, log_Tref t)",
            live=("reference_length=6", "reference_length=6,log_scale=true"),
        ),
    ),
    effect=_effect,
    examples=("log_scale=true",),
    neutral=("log_scale=false", "log_scale=true,reference_length=4096"),
    checked=(
        Checked(
            code="QwenLM/Qwen-Audio, modeling_qwen.py",
            commit="b50fb95",
            ran="its language model, prefill and decoding, in transformers 4.37",
            settings=("log_scale=true,reference_length=32",),
            off=1.5e-5,
            readings=("it counts the places in the cache, those of padding too; ours the tokens"),
        ),
    ),
    place=5,
)
