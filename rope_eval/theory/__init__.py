"""The laws of RoPE's base and context length, in plain Python.

Sources:

- [1] *Scaling Laws of RoPE-based Extrapolation*, arXiv 2310.05209: critical dimension, critical
  base, extrapolation bound, pivot bases.
- [2] *Base of RoPE Bounds Context Length*, arXiv 2405.14591: the lower bound on the base, and
  the fit of it.
- [3] *LongRoPE2*, arXiv 2502.20082: the critical dimension that a model shows.
- [4] *Effective Long-Context Scaling of Foundation Models*, arXiv 2309.16039: a larger base (ABF).
- [5] *Extending Context Window of Large Language Models from a Distributional Perspective*, arXiv
  2410.01490: how far longer texts disturb the angles.

Symbols of [1] and the names used here: d = ``head_dim`` (the rotary dimension, so `head_dim` times
`partial_rotary_factor` for a partly rotated head), T_train = ``train_length``, T_tune =
``tune_length``, β = ``rope_theta`` after tuning, β_pre = ``pretrain_theta`` (10000 in [1]).
Lengths and periods are in tokens. A *dimension* counts two for each rotated pair.

Every function raises `SpecError` for a base that is not a finite number above 1, for a head_dim
that is not even and positive, and for a length too short for its law.
"""

from __future__ import annotations

from rope_eval.theory.abf import ABF_THETA, slowdown
from rope_eval.theory.base_bound import (
    BASES_PER_DECADE,
    DECADES,
    MAX_BASE,
    PUBLISHED_BASE_BOUNDS,
    base_is_feasible,
    base_lower_bound,
    first_negative,
    fitted_base_bound,
    published_base_bound,
)
from rope_eval.theory.checks import TWO_PI
from rope_eval.theory.disturbance import angle_disturbance
from rope_eval.theory.extrapolation import (
    critical_base,
    critical_dimension,
    effective_dimension,
    extrapolation_bound,
    periods,
    pivot_bases,
    smallest_base_for,
)
from rope_eval.theory.feasible import Feasible, Sliver, feasible_bases
from rope_eval.theory.fitted import (
    PUBLISHED_CRITICAL_PAIRS,
    FittedDimension,
    fitted_critical_dimension,
)

__all__ = [
    "ABF_THETA",
    "BASES_PER_DECADE",
    "DECADES",
    "MAX_BASE",
    "PUBLISHED_BASE_BOUNDS",
    "PUBLISHED_CRITICAL_PAIRS",
    "TWO_PI",
    "Feasible",
    "FittedDimension",
    "Sliver",
    "angle_disturbance",
    "base_is_feasible",
    "base_lower_bound",
    "critical_base",
    "critical_dimension",
    "effective_dimension",
    "extrapolation_bound",
    "feasible_bases",
    "first_negative",
    "fitted_base_bound",
    "fitted_critical_dimension",
    "periods",
    "pivot_bases",
    "published_base_bound",
    "slowdown",
    "smallest_base_for",
]
