"""Self-Extend: exact positions within a window, and those of groups of tokens beyond it."""

from __future__ import annotations

import math

from rope_eval.errors import SpecError
from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import checks, fitting_ratio, refused, whole
from rope_eval.rope.position_maps import self_extend
from rope_eval.rope.values import Field, optional


def _effect(facts: Facts) -> Effect:
    window, group = facts.spec.self_extend_window, facts.spec.self_extend_group
    if group == 1:
        return Effect(effective_from=math.inf)
    return Effect(position_map=self_extend(window, group), effective_from=window + 2)


def _divides(spec: Setting) -> None:
    window, group = spec.self_extend_window, spec.self_extend_group
    if window % group:
        raise SpecError(
            f"self_extend_window={window} must be a multiple of self_extend_group={group}: where "
            "it is not, the authors' flash prefill and flash decoding disagree"
        )


def _untuned(made_for: int, length: int) -> str:
    """Return groups for which a quarter of the length, in whole groups, is the window."""
    group = fitting_ratio(made_for // 4, made_for, length)
    return f"self_extend_window={max(1, made_for // 4 // group) * group},self_extend_group={group}"


METHOD = Method(
    name="Self-Extend",
    says="a key at the distance d ≥ w is seen at ⌊t/G⌋ − ⌊s/G⌋ + w − ⌊w/G⌋",
    source="arXiv 2401.01325; datamllab/LongLM",
    fields=(
        Field(
            name="self_extend_window",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="Self-Extend's window w of neighbours in tokens, a multiple of the group",
            live=(
                "self_extend_window=8,self_extend_group=4",
                "self_extend_window=24,self_extend_group=4",
            ),
        ),
        Field(
            name="self_extend_group",
            default=1,
            type=int,
            parse=whole(least=1),
            says="its G: tokens of a group, which have one position beyond the window",
            live=("self_extend_window=8", "self_extend_window=8,self_extend_group=4"),
        ),
    ),
    effect=_effect,
    maps_positions=True,
    in_probe={"self_extend_window": 4, "self_extend_group": 2},
    check=checks("self_extend_window", "self_extend_group", also=_divides),
    not_served=refused("self_extend_window"),
    examples=("self_extend_window=16,self_extend_group=8",),
    untuned=_untuned,
    neutral=("self_extend_window=8", "self_extend_window=4096,self_extend_group=8"),
    checked=(
        Checked(
            code="datamllab/LongLM, self_extend_patch/Llama.py and selfextend_flash_attn.py",
            commit="cdbbb06",
            ran=(
                "prefill and decoding, eager and flash, in transformers 4.38; not its Triton kernel"
            ),
            settings=(
                "self_extend_window=16,self_extend_group=8",
                "self_extend_window=16,self_extend_group=4,log_scale=true,reference_length=32",
            ),
            off=1.4e-5,
            readings=(
                "far queries are shifted by w − w/G in prefill and in eager decoding, but by w "
                "− ⌊w/G⌋ in flash decoding: 2.9 nats at w = 18, G = 4, so w must be a multiple "
                "of G here; its optional scale_base is `log_scale`"
            ),
        ),
    ),
    place=52,
)
