"""Dynamic NTK: the base grows with the position of the query, or the length of the sequence.

Eq. 18 multiplies the base by α itself, Qwen's by α^(d/(d−2)): the same α, other frequencies.
"""

from __future__ import annotations

import math
from typing import Literal

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import BaseChanges, ConfigForm, Effect, Method, NotServed, Schedule
from rope_eval.rope.values import Field, choice, number

DynamicNtk = Literal[False, "per_query", "per_sequence"]
NtkFormula = Literal["octave", "continuous", "qwen"]


def octave(t: int, reference_length: float) -> int:
    """Return ⌈log₂(t / T_ref)⌉, at least 0, for a 1-based position or a length t."""
    mantissa, exponent = math.frexp(t / reference_length)
    return max(exponent - (mantissa == 0.5), 0)


def octave_alpha(number_of_octave: int) -> float:
    """Return Eq. 18's α of octave k, 2^(k+1) − 1: 1, 3, 7, 15 for k = 0, 1, 2, 3."""
    return float(2 ** (number_of_octave + 1) - 1)


def _octaves(reference: float) -> Schedule:
    return Schedule(
        alpha=lambda t: octave_alpha(octave(t, reference)),
        end=lambda t: float(math.floor(reference * 2.0 ** octave(t, reference))),
        tables=32,
    )


def _continuous(facts: Facts) -> Schedule:
    reference, f, d = facts.t_ref(extra=False), facts.spec.ntk_factor, facts.geometry.rotary_dim

    def alpha(length: int) -> float:
        stretch = f * max(length / reference, 1.0) - (f - 1)
        return float(stretch ** (d / (d - 2)))

    return Schedule(alpha=alpha, end=lambda t: max(float(t), math.floor(reference)), tables=1)


def _effect(facts: Facts) -> Effect:
    if facts.spec.ntk_formula == "continuous":
        return Effect(base=lambda theta, alpha: theta * alpha, schedule=_continuous(facts))
    if facts.spec.ntk_formula == "qwen":
        d = facts.geometry.rotary_dim
        return Effect(
            base=lambda theta, alpha: theta * alpha ** (d / (d - 2)),
            schedule=_octaves(facts.t_ref(extra=False)),
        )
    reference = facts.t_ref()
    return Effect(
        base=lambda theta, alpha: theta * alpha,
        schedule=_octaves(reference),
        reference_length=reference,
    )


def _base_changes(spec: Setting) -> BaseChanges:
    changes: BaseChanges = spec.dynamic_ntk or "never"
    return changes


def _check(spec: Setting) -> None:
    if spec.ntk_formula != "octave" and spec.dynamic_ntk != "per_sequence":
        raise SpecError(
            f"ntk_formula={spec.ntk_formula} is defined for dynamic_ntk=per_sequence alone, "
            f"got dynamic_ntk={spec.dynamic_ntk}"
        )
    if spec.ntk_factor != 1.0 and spec.ntk_formula != "continuous":
        raise SpecError(
            f"ntk_factor={spec.ntk_factor:g} has no meaning with ntk_formula="
            f"{spec.ntk_formula}: set ntk_formula=continuous, or leave ntk_factor out"
        )


def _not_served(spec: Setting) -> NotServed | None:
    if spec.dynamic_ntk == "per_query":
        return NotServed(
            setting="dynamic_ntk=per_query",
            why=("its cache keeps rotated keys, and Eq. 18 rotates every key again for each query"),
            instead="dynamic_ntk=per_sequence",
        )
    if spec.ntk_formula == "continuous":
        return NotServed(
            setting="ntk_formula=continuous",
            why="every length has another base, and an engine's tables hold one an octave",
            instead="ntk_formula=octave",
        )
    return None


def _parse(name: str, value: object) -> DynamicNtk:
    word = str(value).lower() if isinstance(value, (bool, str)) else value
    if word == "false":
        return False
    if word in ("true", "per_query"):
        return "per_query"
    if word == "per_sequence":
        return "per_sequence"
    hint = did_you_mean(str(value), ("per_query", "per_sequence"))
    raise SpecError(f"{name} must be false, per_query or per_sequence, got {value!r}.{hint}")


METHOD = Method(
    name="dynamic NTK",
    says=(
        "the base times 2^(⌈log₂(t/T_ref)⌉+1) − 1 past T_ref, or bloc97's continuous factor, or "
        "Qwen's"
    ),
    source="arXiv 2310.05209, Eq. 18; bloc97; Qwen's modeling_qwen",
    frequencies="scale",
    needs=("train_length", "bound"),
    fields=(
        Field(
            name="dynamic_ntk",
            default=False,
            type=DynamicNtk,
            parse=_parse,
            says=(
                'False, "per_query" (Eq. 18 as written, each query with its own base; True means '
                'this) or "per_sequence" (one α from the whole sequence\'s length: what serving '
                "engines can do)"
            ),
            live=("dynamic_ntk=per_query", "dynamic_ntk=per_sequence"),
        ),
        Field(
            name="ntk_formula",
            default="octave",
            type=NtkFormula,
            parse=choice("octave", "continuous", "qwen"),
            says=(
                '"octave" (Eq. 18); for "per_sequence" alone also "continuous" (bloc97, '
                '`transformers`\' `dynamic` without its memory of earlier lengths) and "qwen" '
                "(Eq. 18's α to the power d/(d−2), from the length that the checkpoint was made "
                "for, but of the whole sequence where Qwen's code takes the prompt's)"
            ),
            live=(
                "dynamic_ntk=per_sequence,reference_length=20",
                "dynamic_ntk=per_sequence,reference_length=20,ntk_formula=continuous",
            ),
        ),
        Field(
            name="ntk_factor",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says="the factor f ≥ 1 of the continuous formula",
            live=(
                "dynamic_ntk=per_sequence,ntk_formula=continuous",
                "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=4",
            ),
        ),
    ),
    effect=_effect,
    base_changes=_base_changes,
    check=_check,
    not_served=_not_served,
    untuned=lambda made_for, length: "dynamic_ntk=per_sequence",
    examples=(
        "dynamic_ntk=per_query",
        "dynamic_ntk=per_sequence",
        "dynamic_ntk=per_sequence,ntk_formula=continuous",
        "dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=3",
        "dynamic_ntk=per_sequence,ntk_formula=qwen",
    ),
    neutral=(
        "dynamic_ntk=false",
        "dynamic_ntk=per_query,reference_length=4096",
        "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=4096",
    ),
    config=ConfigForm(
        rope_type="dynamic",
        words={"factor": "ntk_factor"},
        fixed={"dynamic_ntk": "per_sequence", "ntk_formula": "continuous"},
        length="max_position_embeddings",
    ),
    checked=(
        Checked(
            code="QwenLM/Qwen-Audio, modeling_qwen.py",
            commit="b50fb95",
            ran="its language model, prefill and decoding, in transformers 4.37",
            settings=(
                "dynamic_ntk=per_sequence,ntk_formula=qwen",
                "log_scale=true,dynamic_ntk=per_sequence,ntk_formula=qwen",
            ),
            off=1.6e-5,
            readings=(
                "its decoding keeps the α of the prompt: 7.0 nats after a prompt of 60 tokens, "
                "where it equals `ntk_alpha=3`; ours takes that of the length so far"
            ),
        ),
        Checked(
            code="jquesnelle/yarn, LlamaDynamicScaledRotaryEmbedding.py",
            commit="995db5b",
            ran="prefill, in transformers 4.31",
            settings=("dynamic_ntk=per_sequence,ntk_formula=continuous,ntk_factor=3",),
            off=9.9e-6,
            readings=(
                "its decoding keeps keys as they were rotated for shorter lengths: 6.3 nats; ours "
                "turns all of them at every step, for the length so far"
            ),
        ),
    ),
    place=6,
)
