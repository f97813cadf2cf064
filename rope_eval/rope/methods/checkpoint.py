"""Not methods but what they compute with: how the checkpoint was made, and T_ref."""

from __future__ import annotations

from typing import Literal

from rope_eval.errors import SpecError
from rope_eval.rope.method import Method
from rope_eval.rope.values import Field, length, number, optional


def _reference_length(name: str, value: object) -> object:
    if value in ("extra", "train"):
        return value
    try:
        return number(above=1.0)(name, value)
    except SpecError:
        raise SpecError(
            f"{name} must be extra, train, or a number of tokens greater than 1, got {value!r}"
        ) from None


METHOD = Method(
    name="the checkpoint",
    says="what the laws are computed from: alone it changes nothing",
    source="arXiv 2310.05209",
    fields=(
        Field(
            name="reference_length",
            default="extra",
            type=Literal["extra", "train"] | float,
            parse=_reference_length,
            says=(
                'T_ref of Eqs. 16-18: "extra" (the extrapolation bound T_extra), "train", or a '
                "number of tokens. The continuous formula refers to the length that the "
                "checkpoint was made for unless a number is given"
            ),
            live=("dynamic_ntk=per_query", "dynamic_ntk=per_query,reference_length=10"),
        ),
        Field(
            name="pretrain_theta",
            default=None,
            type=float | None,
            parse=optional(number(above=1.0)),
            says=(
                "the base of pre-training, β_pre; None takes what is known of the family, or the "
                "config's own base where nothing says that it was changed (docs/laws.md)"
            ),
            live=("beyond_critical=clip", "beyond_critical=clip,pretrain_theta=500"),
        ),
        Field(
            name="train_length",
            default=None,
            type=int | None,
            parse=optional(length),
            says=(
                "the context length of pre-training; None takes what is known of the family, or "
                "the config's original_max_position_embeddings or max_position_embeddings"
            ),
            live=("beyond_critical=clip", "beyond_critical=clip,train_length=16"),
        ),
        Field(
            name="tune_length",
            default=None,
            type=int | None,
            parse=optional(length),
            says=(
                "the context length of fine-tuning; None takes what is known of the family, or "
                "train_length"
            ),
            live=(
                "dynamic_ntk=per_query,rope_theta=500,pretrain_theta=10000",
                "dynamic_ntk=per_query,rope_theta=500,pretrain_theta=10000,tune_length=64",
            ),
        ),
    ),
    place=1000,
)
