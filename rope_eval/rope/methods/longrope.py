"""LongRoPE: each frequency divided by a number of its own, searched for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import BaseChanges, ConfigForm, Effect, Method, Schedule, with_ratio
from rope_eval.rope.methods._maps import whole
from rope_eval.rope.values import Field, number, one_a_pair, optional, regimes

if TYPE_CHECKING:
    from torch import Tensor

FIELD, KEPT = "longrope_factors", "longrope_kept"
LONG = 2.0  # α of a sequence past the original length


def _effect(facts: Facts) -> Effect:
    lists = facts.spec.longrope_factors
    two = isinstance(lists[0], tuple)
    short, long = lists if two else (lists, lists)
    one_a_pair(FIELD, short, facts.pairs)
    factor, kept = _temperature(facts), facts.spec.longrope_kept

    def factors(alpha: float) -> Tensor:
        import torch

        return torch.tensor(long if alpha == LONG else short, dtype=torch.float64)

    def positions(of_pairs: Tensor, alpha: float) -> Tensor:
        """Return those at which the changed frequencies turn the first tokens as plain ones do."""
        return of_pairs.where(of_pairs >= kept, of_pairs * factors(alpha).to(of_pairs.device))

    if two and kept >= facts.scaled_from:
        raise SpecError(
            f"{KEPT} must be less than the original length, {facts.scaled_from}, got {kept}"
        )
    at_once = any(one != 1 for one in short) or factor != 1
    first = kept + 1 if factor == 1 else 2
    return Effect(
        frequencies=lambda plain, alpha: plain / factors(alpha),
        positions=positions if kept else None,
        attention_factor=None if factor == 1 else lambda alpha: factor,
        schedule=_schedule(facts.scaled_from) if two else None,
        effective_from=max(first, 2) if at_once else math.inf,
    )


def _schedule(length: int) -> Schedule:
    return Schedule(
        alpha=lambda t: LONG if t > length else 1.0,
        end=lambda t: math.inf if t > length else float(length),
        tables=2,
    )


def _temperature(facts: Facts) -> float:
    ratio = facts.spec.longrope_ratio
    if ratio == 1 or facts.spec.attention_factor is not None:
        return 1.0
    return math.sqrt(1 + math.log(ratio) / math.log(facts.scaled_from))


def _check(spec: Setting) -> None:
    for other, given in (
        ("beyond_critical=clip", spec.beyond_critical == "clip"),
        ("resonance", spec.resonance),
    ):
        if spec.longrope_kept and given:
            raise SpecError(
                f"{KEPT} cannot be combined with {other}, which changes what the first tokens "
                "would keep: leave one out"
            )


def _base_changes(spec: Setting) -> BaseChanges:
    lists = spec.longrope_factors
    return "per_sequence" if lists and isinstance(lists[0], tuple) else "never"


_SHORT, _LONG = "1:1:1:1:1:1:1:1", "1:1.5:2:3:4:6:8:9"

METHOD = Method(
    name="LongRoPE",
    says=(
        "each frequency divided by a number of its own: those of a short list for sequences up to "
        "the original length, of a long one for longer, but for the first tokens where asked; cos "
        "and sin times √(1 + ln s / ln T). LongRoPE2's searched factors are such lists; a list for "
        "each layer, which microsoft/LongRoPE's code can have, is not done"
    ),
    source="arXiv 2402.13753, 2502.20082; transformers' `longrope`",
    frequencies="set",
    needs=("train_length",),
    fields=(
        Field(
            name=FIELD,
            default=None,
            type=tuple[float, ...] | tuple[tuple[float, ...], tuple[float, ...]] | None,
            parse=optional(regimes(number(above=0.0), ("short_factor", "long_factor"))),
            says=(
                "LongRoPE's numbers, one a pair: a list for every length, or two for sequences up "
                "to and past train_length: 1:1:1/2:4:8, [[…], […]], or @file.json, which may have "
                "short_factor and long_factor. What counts is the content, not the file"
            ),
            live=("", f"longrope_factors={_SHORT}/{_LONG}"),
            per_pair=True,
        ),
        Field(
            name="longrope_ratio",
            default=1.0,
            type=float,
            parse=number(least=1.0),
            says=(
                "LongRoPE's s, the length extended to over train_length: cos and sin times "
                "√(1 + ln s / ln train_length), at every length"
            ),
            live=(
                f"longrope_factors={_SHORT}/{_LONG}",
                f"longrope_factors={_SHORT}/{_LONG},longrope_ratio=16",
            ),
            only_with=(FIELD,),
        ),
        Field(
            name=KEPT,
            default=0,
            type=int,
            parse=whole(least=0),
            says=(
                "LongRoPE's n̂: so many tokens, from the first on, turn by the frequencies as they "
                "were (the factor on cos and sin is theirs too, where the authors' code leaves it "
                "off)"
            ),
            live=(f"longrope_factors={_LONG}", f"longrope_factors={_LONG},longrope_kept=16"),
            only_with=(FIELD,),
        ),
    ),
    effect=_effect,
    check=_check,
    in_probe={KEPT: 4},
    base_changes=_base_changes,
    config=ConfigForm(
        rope_type="longrope",
        words={
            "short_factor": FIELD,
            "long_factor": FIELD,
            "factor": "longrope_ratio",
            "attention_factor": "attention_factor",
        },
        optional=("attention_factor",),
        length="original_max_position_embeddings",
        meant=with_ratio,
    ),
    examples=(
        f"longrope_factors={_SHORT}/{_LONG}",
        f"longrope_factors={_LONG}/{_LONG.replace('9', '40')},longrope_ratio=4",
        f"longrope_factors={_LONG},longrope_ratio=4,longrope_kept=16",
    ),
    neutral=(
        "longrope_factors=none",
        f"longrope_factors={_SHORT}/{_LONG},train_length=4096",
    ),
    checked=(
        Checked(
            code="microsoft/LongRoPE, rope/longrope.py",
            commit="c9e56aa",
            ran="LongRoPEScaledRotaryEmbedding, prefill and decoding, in transformers 4.38",
            settings=(
                "longrope_factors=1:1.5:2:3:4:6:8:9,longrope_ratio=4",
                "longrope_factors=1:1.5:2:3:4:6:8:9,attention_factor=1.1386294361119891",
            ),
            off=1.9e-5,
            readings=(
                "it has one list for all lengths, transformers two by the length; ours takes "
                "either. The second is its scaling policy yarn. A list for each layer, first "
                "tokens left unscaled (longrope_mixed) and factors that grow with the length "
                "(longrope_dynamic) are not offered"
            ),
        ),
    ),
    place=4,
)
