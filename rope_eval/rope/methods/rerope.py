"""ReRoPE: exact positions within a window, and a constant distance beyond it."""

from __future__ import annotations

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.methods._maps import checks, refused, whole
from rope_eval.rope.position_maps import rerope
from rope_eval.rope.values import Field, optional


def _effect(facts: Facts) -> Effect:
    window = facts.spec.rerope_window
    return Effect(position_map=rerope(window), effective_from=window + 2)


METHOD = Method(
    name="ReRoPE",
    says="a key at the distance d ≥ w is seen at w",
    source="Su, github.com/bojone/rerope, without the log scale of its file: that is `log_scale`",
    fields=(
        Field(
            name="rerope_window",
            default=None,
            type=int | None,
            parse=optional(whole(least=1)),
            says="ReRoPE's window w in tokens: distances of w and more become w",
            live=("rerope_window=8", "rerope_window=24"),
        ),
    ),
    effect=_effect,
    maps_positions=True,
    in_probe={"rerope_window": 4},
    check=checks("rerope_window"),
    not_served=refused("rerope_window"),
    examples=("rerope_window=16",),
    untuned=lambda made_for, length: f"rerope_window={made_for // 4}",
    neutral=("rerope_window=none", "rerope_window=4096"),
    checked=(
        Checked(
            code="bojone/rerope, rerope_patch.py",
            commit="acfe788",
            ran="prefill and decoding, in transformers 4.31",
            settings=("rerope_window=16,log_scale=true,reference_length=32",),
            off=1.1e-5,
            readings=(
                "its file always multiplies the query at t by max(1, ln t / ln T), which is "
                "`log_scale`, a field of its own here: 2.8 nats without it"
            ),
        ),
    ),
    place=50,
)
