"""B(m) of arXiv 2405.14591 under any setting: of the angles that its pairs are turned by.

Of a base alone `rope_eval.theory.first_negative` has it. A method may turn pairs by other angles,
leave some out or see a key at another distance than its own, so that B is not the base's.
"""

from __future__ import annotations

import functools

import torch

from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.runs import Checkpoint

FARTHEST = 1 << 14
"""Tokens up to which B is looked at."""


@functools.lru_cache(maxsize=256)
def feasible_length(checkpoint: Checkpoint, rope: RopeSpec) -> int | None:
    """Return up to which distance B(m) ≥ 0, in tokens; None where that is `FARTHEST` or more.

    B(m) = Σ w·cos φ(m) over the pairs, φ the angle between a query and the key m tokens before it,
    the first of its text, and w what the setting multiplies both by: 1, or 0 for a dropped pair.

    Args:
        checkpoint: whose base and lengths.
        rope: what it is run under.
    """
    geometry = RotaryGeometry(
        head_dim=checkpoint.head_dim,
        rotary_dim=checkpoint.head_dim,
        rope_theta=checkpoint.base,
        train_length=checkpoint.train_length,
    )
    own = rope.replace(pretrain_theta=checkpoint.pretrain_theta)
    rotary = Rotary(own, geometry)
    places = torch.arange(FARTHEST + 1, dtype=torch.float64)
    alphas = torch.tensor([rotary.alpha(place + 1) for place in range(FARTHEST + 1)])
    sums = torch.empty_like(places)
    for alpha in alphas.unique():
        some = alphas == alpha
        sums[some] = _sums(rotary, float(alpha), places[some])
    negative = torch.nonzero(sums < 0)
    return int(negative[0]) - 1 if len(negative) else None


def _sums(rotary: Rotary, alpha: float, places: torch.Tensor) -> torch.Tensor:
    """Return B at distances, ``[T]``, of queries at these places from a key at 0."""
    seen = places
    if rotary.position_map is not None:
        seen = rotary.position_map.rel(places, torch.zeros_like(places))
    terms = rotary.table_at(alpha, seen)[0].double()
    if rotary.scales_queries:
        terms = terms * rotary.query_scale(places)[..., : rotary.pairs]
    if rotary.scales_pairs:
        terms = terms * rotary.pair_scale(places)
    return terms.sum(1)
