"""What lies beyond the critical dimension, clipped or dropped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from rope_eval.rope.facts import Facts
from rope_eval.rope.method import Effect, Method
from rope_eval.rope.values import Field, choice

if TYPE_CHECKING:
    from torch import Tensor

BeyondCritical = Literal["keep", "clip", "drop"]


def _effect(facts: Facts) -> Effect:
    first = facts.critical_dimension // 2
    if first >= facts.pairs:
        return Effect(effective_from=math.inf)
    return _clip(facts, first) if facts.spec.beyond_critical == "clip" else _drop(facts, first)


def _clip(facts: Facts, first: int) -> Effect:
    last = facts.train_length - 1

    def positions(of_pairs: Tensor, alpha: float) -> Tensor:
        clipped = of_pairs.clone()
        clipped[:, first:] = clipped[:, first:].clamp(max=last)
        return clipped

    return Effect(positions=positions, effective_from=last + 2)


def _drop(facts: Facts, first: int) -> Effect:
    pairs, head_dim = facts.pairs, facts.geometry.head_dim
    left = head_dim - 2 * (pairs - first)

    def query_scale(positions: Tensor) -> Tensor:
        """Return 0 for the pairs, and the softmax scale of the dimensions that are left."""
        import torch

        scale = torch.ones(*positions.shape, head_dim, device=positions.device)
        scale[..., first:pairs] = 0
        scale[..., pairs + first : 2 * pairs] = 0
        scale *= math.sqrt(head_dim / left)
        return scale

    return Effect(query_scale=query_scale)


METHOD = Method(
    name="clip, drop",
    says=(
        "the dimensions from the critical one on see positions clipped at T_train − 1 (so all keys "
        "of absolute positions past it look equally near), or are removed from q and k"
    ),
    source="arXiv 2310.05209, §3.4",
    needs=("train_length",),
    fields=(
        Field(
            name="beyond_critical",
            default="keep",
            type=BeyondCritical,
            parse=choice("keep", "clip", "drop"),
            says=(
                '"keep", or §3.4\'s "clip" (dimensions from the critical one on see positions '
                'clipped at train_length − 1) or "drop" (those dimensions are removed from q and k)'
            ),
            live=("beyond_critical=clip", "beyond_critical=drop"),
        ),
    ),
    effect=_effect,
    examples=("beyond_critical=clip", "beyond_critical=drop"),
    neutral=(
        "beyond_critical=keep",
        "beyond_critical=clip,train_length=4096",
        "beyond_critical=drop,train_length=100000",
    ),
    place=8,
)
