"""Llama 3.1's scaling: long wavelengths divided by a factor, short ones kept, between them both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import ConfigForm, Effect, Method
from rope_eval.rope.values import Field, number

if TYPE_CHECKING:
    from torch import Tensor

FIELD = "llama3_factor"


def _effect(facts: Facts) -> Effect:
    spec, length = facts.spec, facts.scaled_from
    factor: float = spec.llama3_factor
    low: float = spec.low_freq_factor
    high: float = spec.high_freq_factor

    def frequencies(plain: Tensor, alpha: float) -> Tensor:
        turns = plain * length / (2 * math.pi)  # of each pair in the original length
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return plain / factor * (1 - kept) + plain * kept

    return Effect(frequencies=frequencies)


def _check(spec: Setting) -> None:
    if spec.low_freq_factor >= spec.high_freq_factor:
        raise SpecError(
            f"low_freq_factor must be less than high_freq_factor={spec.high_freq_factor:g}, got "
            f"{spec.low_freq_factor:g}"
        )


METHOD = Method(
    name="llama3",
    says=(
        "pairs that turn less than low_freq_factor times in the original length are divided by the "
        "factor, those that turn more than high_freq_factor times kept, those between mixed"
    ),
    source="Llama 3.1's config; transformers' `llama3`",
    frequencies="set",
    needs=("train_length",),
    fields=(
        Field(
            name=FIELD,
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="Llama 3.1's scaling, factor ≥ 1; the original length is train_length",
            live=("", "llama3_factor=8"),
        ),
        Field(
            name="low_freq_factor",
            default=1.0,
            type=float,
            parse=number(above=0.0),
            says="turns in the original length up to which a pair is divided by llama3_factor",
            live=(
                "llama3_factor=8,high_freq_factor=9",
                "llama3_factor=8,high_freq_factor=9,low_freq_factor=3",
            ),
            only_with=(FIELD,),
        ),
        Field(
            name="high_freq_factor",
            default=4.0,
            type=float,
            parse=number(above=0.0),
            says="turns in the original length from which on a pair is kept by llama3_factor",
            live=("llama3_factor=8", "llama3_factor=8,high_freq_factor=40"),
            only_with=(FIELD,),
        ),
    ),
    effect=_effect,
    check=_check,
    examples=("llama3_factor=8", "llama3_factor=8,low_freq_factor=0.1,high_freq_factor=1"),
    neutral=("llama3_factor=1",),
    config=ConfigForm(
        rope_type="llama3",
        words={
            "factor": FIELD,
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
        },
        optional=("low_freq_factor", "high_freq_factor"),
        length="original_max_position_embeddings",
    ),
    checked=(
        Checked(
            code="meta-llama/llama-models, models/llama3/model.py and models/llama4/model.py",
            commit="a9c89c4",
            ran=(
                "their tables, their fixed 8192 tokens made 32, prefill and decoding, in "
                "transformers 4.31"
            ),
            settings=("llama3_factor=8", "llama3_factor=16,high_freq_factor=2"),
            off=9.1e-6,
        ),
    ),
    place=4,
)
