"""STRING: exact positions near, and far ones shifted down to where training was frequent."""

from __future__ import annotations

import math

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import checks, refused, whole
from rope_eval.rope.position_maps import string
from rope_eval.rope.values import Field, optional

WINDOW = 128  # the authors'
FACTOR = 0.1 * math.log(2) + 1  # on cos and sin, always, in the authors' code


def _effect(facts: Facts) -> Effect:
    shift, window = facts.spec.string_shift, facts.spec.string_window
    window = min(WINDOW, shift) if window is None else window
    position_map = string(shift, window)
    if facts.spec.attention_factor is not None:
        return Effect(position_map=position_map, effective_from=position_map.exact + 1)
    return Effect(position_map=position_map, attention_factor=lambda alpha: FACTOR)


def _fits(spec: Setting) -> None:
    shift, window = spec.string_shift, spec.string_window
    if window is not None and window > shift:
        raise SpecError(f"string_window={window} must not exceed string_shift={shift}")


METHOD = Method(
    name="STRING",
    says=(
        "a key at the distance d ≥ S is seen at d − S + W, and cos and sin are multiplied by "
        "0.1·ln 2 + 1"
    ),
    source="arXiv 2410.18745; near is d < S, as in the decoding of github.com/HKUNLP/STRING",
    fields=(
        Field(
            name="string_shift",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="STRING's S in tokens (the authors': 0.33 of train_length)",
            live=("string_shift=8,string_window=2", "string_shift=24,string_window=2"),
        ),
        Field(
            name="string_window",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="its W ≤ S: what the distance S becomes; None takes 128, or S where that is less",
            live=("string_shift=16", "string_shift=16,string_window=4"),
        ),
    ),
    effect=_effect,
    maps_positions=True,
    in_probe={"string_shift": 4, "string_window": 2},
    check=checks("string_shift", "string_window", also=_fits),
    not_served=refused("string_shift"),
    examples=("string_shift=16,string_window=4",),
    neutral=("string_shift=none",),
    checked=(
        Checked(
            code="HKUNLP/STRING, string_for_llama.py",
            commit="216cc2f",
            ran="decoding as it is, prefill with its window mended, in transformers 4.43",
            settings=("string_shift=16,string_window=4",),
            off=1.2e-5,
            readings=(
                "its prefill attends to the keys at d = S twice, as near and as far ones: 5.5 "
                "nats; its decoding once, as far ones, and so does ours. Its factor on cos and "
                "sin, always on there, is part of the method here: 2.3 nats without it, which is "
                "`attention_factor=1`"
            ),
        ),
    ),
    place=54,
)
