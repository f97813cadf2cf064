"""YaRN: high frequencies kept, low ones interpolated, a ramp between, and a temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import (
    BaseChanges,
    ConfigForm,
    Effect,
    Method,
    NotServed,
    Schedule,
    with_ratio,
)
from rope_eval.rope.methods.dynamic_ntk import octave
from rope_eval.rope.values import Field, choice, flag, number, optional

if TYPE_CHECKING:
    from torch import Tensor

DynamicYarn = Literal["continuous", "octave"]
BETA_FAST, BETA_SLOW = 32.0, 1.0  # rotations in train_length where the ramp begins and ends
FACTORS = ("yarn_factor", "dynamic_yarn")


def pair_with_rotations(
    rotations: float, *, rotary_dim: int, rope_theta: float, length: int
) -> float:
    """Return the index, no whole number, of the pair that turns so often in a length."""
    wavelength = length / (rotations * 2 * math.pi)
    return rotary_dim * math.log(wavelength) / (2 * math.log(rope_theta))


def ramp(low: float, high: float, pairs: int) -> Tensor:
    """Return how far each pair is from `low` (0) to `high` (1): float64 ``[pairs]``."""
    import torch

    n = torch.arange(pairs, dtype=torch.float64)
    return ((n - low) / (high - low if high != low else 0.001)).clamp(0, 1)


def yarn_frequencies(
    plain: Tensor,
    rope_theta: float,
    factor: float,
    train_length: int,
    *,
    beta_fast: float = BETA_FAST,
    beta_slow: float = BETA_SLOW,
    truncate: bool = True,
) -> Tensor:
    """Return YaRN's frequencies of the plain ones ``[F]``, as `transformers` computes them.

    Source: arXiv 2309.00071; its ramp is one of the pair's index, where the paper's Eq. 11 has one
    of the turns.
    """
    d = 2 * len(plain)
    low, high = (
        pair_with_rotations(turns, rotary_dim=d, rope_theta=rope_theta, length=train_length)
        for turns in (beta_fast, beta_slow)
    )
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    share = ramp(max(low, 0), min(high, d - 1), len(plain))
    return plain / factor * share + plain * (1 - share)


def _temperature(facts: Facts, factor: float) -> float:
    """Return YaRN's attention factor, DeepSeek's where mscale_all_dim divides it."""

    def mscale(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0

    return mscale(facts.spec.mscale) / mscale(facts.spec.mscale_all_dim)


def _effect(facts: Facts) -> Effect:
    spec, train_length, rope_theta = facts.spec, facts.scaled_from, facts.rope_theta
    schedule = None
    if spec.dynamic_yarn is not None:
        schedule = _SCHEDULES[spec.dynamic_yarn](train_length)

    def factor(alpha: float) -> float:
        return float(spec.yarn_factor) if schedule is None else alpha

    def frequencies(plain: Tensor, alpha: float) -> Tensor:
        if factor(alpha) == 1:
            return plain
        return yarn_frequencies(
            plain,
            rope_theta,
            factor(alpha),
            train_length,
            beta_fast=spec.beta_fast,
            beta_slow=spec.beta_slow,
            truncate=spec.yarn_truncate,
        )

    given = spec.attention_factor is not None
    return Effect(
        frequencies=frequencies,
        attention_factor=None if given else lambda alpha: _temperature(facts, factor(alpha)),
        schedule=schedule,
    )


def _continuous(length: int) -> Schedule:
    return Schedule(
        alpha=lambda t: max(1.0, t / length), end=lambda t: float(max(t, length)), tables=1
    )


def _octaves(length: int) -> Schedule:
    return Schedule(
        alpha=lambda t: 2.0 ** octave(t, length),
        end=lambda t: float(length * 2 ** octave(t, length)),
        tables=32,
    )


_SCHEDULES = {"continuous": _continuous, "octave": _octaves}


def _base_changes(spec: Setting) -> BaseChanges:
    return "never" if spec.dynamic_yarn is None else "per_sequence"


def _check(spec: Setting) -> None:
    if spec.dynamic_yarn is not None and spec.yarn_factor != 1:
        raise SpecError(
            f"yarn_factor={spec.yarn_factor:g} cannot be combined with dynamic_yarn="
            f"{spec.dynamic_yarn}, whose factor is the length's: leave one out"
        )
    if spec.beta_slow >= spec.beta_fast:
        raise SpecError(
            f"beta_slow must be less than beta_fast={spec.beta_fast:g}, got {spec.beta_slow:g}"
        )


def _not_served(spec: Setting) -> NotServed | None:
    if spec.dynamic_yarn != "continuous":
        return None
    return NotServed(
        setting="dynamic_yarn=continuous",
        why="every length has other frequencies, and an engine's tables hold those of an octave",
        instead="dynamic_yarn=octave",
    )


_WORDS = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor")


def _meant(words: Mapping[str, Any], ratio: float | None) -> Mapping[str, Any]:
    """Return a config's words without the two mscales, where transformers reads neither."""
    found = with_ratio(words, ratio)
    if not (found.get("mscale") and found.get("mscale_all_dim")):
        found = {word: value for word, value in found.items() if not word.startswith("mscale")}
    return found


METHOD = Method(
    name="YaRN",
    says=(
        "low frequencies interpolated, high ones kept, cos and sin times 0.1·ln(factor) + 1; the "
        "factor fixed, or of the sequence's length"
    ),
    source="arXiv 2309.00071; jquesnelle/yarn; transformers' `yarn`",
    frequencies="set",
    needs=("train_length",),
    fields=(
        Field(
            name="yarn_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says=(
                "YaRN as `transformers` computes it, factor ≥ 1, its attention factor included; "
                "the original length is train_length"
            ),
            live=("", "yarn_factor=4"),
        ),
        Field(
            name="dynamic_yarn",
            default=None,
            type=DynamicYarn | None,
            parse=optional(choice("continuous", "octave")),
            says=(
                "YaRN whose factor is the whole sequence's length over train_length: "
                '"continuous", or "octave", rounded up to a power of 2, which engines can hold'
            ),
            live=("", "dynamic_yarn=continuous"),
        ),
        Field(
            name="beta_fast",
            default=BETA_FAST,
            type=float,
            parse=number(above=0.0),
            says="YaRN: turns in the original length from which on a pair is kept",
            live=(
                "yarn_factor=8,yarn_truncate=false",
                "yarn_factor=8,yarn_truncate=false,beta_fast=1.1",
            ),
            only_with=FACTORS,
        ),
        Field(
            name="beta_slow",
            default=BETA_SLOW,
            type=float,
            parse=number(above=0.0),
            says="YaRN: turns in the original length up to which a pair is interpolated",
            live=("yarn_factor=4", "yarn_factor=4,beta_slow=0.01"),
            only_with=FACTORS,
        ),
        Field(
            name="yarn_truncate",
            default=True,
            type=bool,
            parse=flag,
            says="YaRN: whether the ramp begins and ends at whole pairs",
            live=("yarn_factor=8", "yarn_factor=8,yarn_truncate=false"),
            only_with=FACTORS,
        ),
        Field(
            name="mscale",
            default=1.0,
            type=float,
            parse=number(least=0.0),
            says="YaRN: cos and sin times 0.1·mscale·ln(factor) + 1",
            live=("yarn_factor=4", "yarn_factor=4,mscale=8"),
            only_with=FACTORS,
        ),
        Field(
            name="mscale_all_dim",
            default=0.0,
            type=float,
            parse=number(least=0.0),
            says="YaRN: that divided by 0.1·mscale_all_dim·ln(factor) + 1 (DeepSeek)",
            live=("yarn_factor=4", "yarn_factor=4,mscale_all_dim=8"),
            only_with=FACTORS,
        ),
    ),
    effect=_effect,
    base_changes=_base_changes,
    check=_check,
    not_served=_not_served,
    untuned=lambda made_for, length: "dynamic_yarn=octave",
    examples=(
        "yarn_factor=4",
        "yarn_factor=8,beta_fast=4,beta_slow=0.1,mscale=6,mscale_all_dim=2,yarn_truncate=false",
        "dynamic_yarn=continuous",
        "dynamic_yarn=octave",
    ),
    neutral=(
        "yarn_factor=1",
        "dynamic_yarn=continuous,train_length=4096",
        "dynamic_yarn=octave,train_length=4096",
    ),
    config=ConfigForm(
        rope_type="yarn",
        words={"factor": "yarn_factor", "truncate": "yarn_truncate"} | {w: w for w in _WORDS},
        optional=("truncate", *_WORDS),
        length="original_max_position_embeddings",
        meant=_meant,
    ),
    checked=(
        Checked(
            code="jquesnelle/yarn, LlamaYaRNScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill and decoding, in transformers 4.31",
            settings=("yarn_factor=4",),
            off=1.3e-5,
        ),
        Checked(
            code="jquesnelle/yarn, LlamaDynamicYaRNScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill, in transformers 4.31",
            settings=("dynamic_yarn=continuous",),
            off=1.3e-5,
            readings=(
                "its decoding keeps keys as they were rotated for shorter lengths: 9.3 nats; ours "
                "turns all of them at every step, for the length so far"
            ),
        ),
    ),
    place=4,
)
