"""Any frequencies, given as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, number, numbers, one_a_pair, optional

if TYPE_CHECKING:
    from torch import Tensor


def _effect(facts: Facts) -> Effect:
    given = facts.spec.frequencies
    one_a_pair("frequencies", given, facts.pairs)

    def frequencies(plain: Tensor, alpha: float) -> Tensor:
        return plain.new_tensor(given)

    return Effect(frequencies=frequencies)


def _check(spec: Setting) -> None:
    if spec.frequencies is not None and spec.rope_theta is not None:
        raise SpecError(
            "frequencies cannot be combined with rope_theta, which they take the place of; leave "
            "one out"
        )


METHOD = Method(
    name="frequencies",
    says="the frequencies themselves, in radians a token",
    source="given",
    frequencies="set",
    fields=(
        Field(
            name="frequencies",
            default=None,
            type=tuple[float, ...] | None,
            parse=optional(numbers(number(least=0.0))),
            says=(
                "the frequency of each pair in radians a token, highest first as the checkpoint "
                "has them: 1:0.3:0.1, a list, or @file.json. What counts is the content"
            ),
            live=("", "frequencies=0.9:0.3:0.1:0.05:0.02:0.01:0.003:0"),
            per_pair=True,
        ),
    ),
    effect=_effect,
    check=_check,
    examples=("frequencies=0.9:0.3:0.1:0.05:0.02:0.01:0.003:0",),
    neutral=("frequencies=none",),
    place=4,
)
