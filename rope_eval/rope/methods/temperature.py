"""Llama 4's temperature: scores grow with the logarithm of the position, a step every so often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods.nope import still_in
from rope_eval.rope.values import Field, choice, number, optional

if TYPE_CHECKING:
    from torch import Tensor

Temperature = Literal["llama4", "ministral3"]
FIELD, NUMBERS = "attn_temperature", ("attn_scale", "floor_scale")
TUNING, BETA = "attn_temperature_tuning", "llama_4_scaling_beta"  # Llama 4's and Ministral 3's


def _effect(facts: Facts) -> Effect:
    spec = facts.spec
    attn_scale: float = spec.attn_scale
    floor_scale: float = spec.floor_scale
    counted_from = 1 if spec.attn_temperature == "llama4" else 0

    def query_scale(positions: Tensor) -> Tensor:
        steps = ((positions + counted_from).double() / floor_scale).floor()
        return (1 + attn_scale * steps.log1p()).float()[..., None]

    first = math.ceil(floor_scale) + 1 - counted_from
    return Effect(query_scale=query_scale, effective_from=max(first, 2))


def _of_config(values: Mapping[str, Any]) -> dict[str, Any]:
    parameters = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if (beta := parameters.get(BETA)) is not None:
        floor_scale = parameters.get("original_max_position_embeddings")
        return {FIELD: "ministral3", **dict(zip(NUMBERS, (beta, floor_scale), strict=True))}
    if not values.get(TUNING) or not still_in(values):
        return {}
    return {FIELD: "llama4", **{name: values[name] for name in NUMBERS if name in values}}


def _to_config(spec: Setting, values: Mapping[str, Any]) -> dict[str, Any] | None:
    if TUNING not in values or spec.attn_temperature != "llama4" or not still_in(values):
        return None
    return {TUNING: True, **{name: getattr(spec, name) for name in NUMBERS}}


def _check_config(spec: Setting, values: Mapping[str, Any]) -> None:
    if spec.attn_temperature is not None and _of_config(values):
        raise SpecError(
            f"{FIELD}={spec.attn_temperature} would be put on top of the checkpoint's own: its "
            f"config has {TUNING if values.get(TUNING) else BETA}; leave it out"
        )


METHOD = Method(
    name="temperature",
    says=(
        "scores of the query at position t times 1 + attn_scale·ln(1 + ⌊t / floor_scale⌋): "
        "positions counted from 1 and, where a model has layers without rotation, in those alone "
        "(Llama 4), or counted from 0 (Ministral 3)"
    ),
    source="transformers' `llama4` and `ministral3`",
    fields=(
        Field(
            name=FIELD,
            default=None,
            type=Temperature | None,
            parse=optional(choice("llama4", "ministral3")),
            says=(
                'a temperature by the position, as of "llama4" (in the layers without rotation '
                'alone, where there are such) or of "ministral3"'
            ),
            live=("", "attn_temperature=llama4,floor_scale=4,attn_scale=1"),
        ),
        Field(
            name="attn_scale",
            default=0.1,
            type=float,
            parse=number(above=0.0),
            says="its slope (Llama 4's attn_scale, Ministral 3's llama_4_scaling_beta)",
            live=(
                "attn_temperature=llama4,floor_scale=4",
                "attn_temperature=llama4,floor_scale=4,attn_scale=1",
            ),
            only_with=(FIELD,),
        ),
        Field(
            name="floor_scale",
            default=8192.0,
            type=float,
            parse=number(least=1.0),
            says="tokens a step (Ministral 3 takes the original length, 16384)",
            live=(
                "attn_temperature=llama4,attn_scale=1",
                "attn_temperature=llama4,attn_scale=1,floor_scale=4",
            ),
            only_with=(FIELD,),
        ),
    ),
    effect=_effect,
    check_config=_check_config,
    of_config=_of_config,
    of_parameters=(BETA,),
    to_config=_to_config,
    of_still=lambda spec: spec.attn_temperature == "llama4",
    examples=(
        "attn_temperature=llama4,attn_scale=1,floor_scale=4",
        "attn_temperature=ministral3,attn_scale=1,floor_scale=4",
    ),
    neutral=("attn_temperature=none", "attn_temperature=llama4", "attn_temperature=ministral3"),
    checked=(
        Checked(
            code="meta-llama/llama-models, models/llama4/model.py",
            commit="a9c89c4",
            ran="its Attention without rotation, prefill and decoding, in transformers 4.31",
            settings=("drope=true,attn_temperature=llama4,floor_scale=4,attn_scale=1",),
            off=0,
            readings=(
                "it has the temperature in layers without rotation alone; ours in every layer that "
                "takes the setting"
            ),
        ),
    ),
)
