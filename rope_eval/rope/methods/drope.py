"""DroPE: no rotation at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, flag, number, optional

if TYPE_CHECKING:
    from torch import Tensor

SCALE = "softmax_scale"  # in our fields, and in the config


def _effect(facts: Facts) -> Effect:
    softmax_scale, head_dim = facts.spec.softmax_scale, facts.geometry.head_dim

    def query_scale(positions: Tensor) -> Tensor:
        import torch

        factor = softmax_scale * math.sqrt(head_dim)
        return torch.full((*positions.shape, 1), factor, device=positions.device)

    return Effect(
        frequencies=lambda inv_freq, alpha: inv_freq * 0,
        query_scale=None if softmax_scale is None else query_scale,
    )


def _of_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the setting of a DroPE checkpoint: SakanaAI's code reads the scale, no other does."""
    scale = values.get(SCALE)
    return {} if scale is None else {"drope": True, SCALE: scale}


def _check_config(spec: Setting, values: Mapping[str, Any]) -> None:
    asked = _of_config(values)
    if asked and spec.softmax_scale is None:
        raise SpecError(
            f"the checkpoint's config has {SCALE}={asked[SCALE]}, DroPE's, which transformers and "
            f"vLLM do not read: give drope=true,{SCALE}={asked[SCALE]}"
        )


METHOD = Method(
    name="DroPE",
    says="no pair rotates: cos is 1 and sin 0 in every layer (NoPE)",
    source="arXiv 2512.12167; SakanaAI/DroPE",
    frequencies="off",
    fields=(
        Field(
            name="drope",
            default=False,
            type=bool,
            parse=flag,
            says="DroPE: no rotation",
            live=("", "drope=true"),
        ),
        Field(
            name=SCALE,
            default=None,
            type=float | None,
            parse=optional(number(above=0.0)),
            says="DroPE's own softmax scale in place of 1/√H, as its checkpoints' configs have it",
            live=("drope=true", "drope=true,softmax_scale=0.5"),
            only_with=("drope",),
        ),
    ),
    effect=_effect,
    check_config=_check_config,
    of_config=_of_config,
    examples=("drope=true", "drope=true,softmax_scale=0.5"),
    neutral=("drope=false",),
    checked=(
        Checked(
            code="SakanaAI/DroPE, custom_models/attention.py",
            commit="260a8bb",
            ran=(
                "NoPELlamaAttention, prefill and decoding, in transformers 4.50; not its "
                "variants with normalized queries and keys, which are other models"
            ),
            settings=(
                "drope=true",
                "drope=true,softmax_scale=0.5",
            ),
            off=1.1e-5,
        ),
    ),
)
