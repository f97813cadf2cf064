"""The lower bound on the base of arXiv 2405.14591, [2] here, and what lies round it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from rope_eval.errors import SpecError
from rope_eval.theory.checks import checked_base, checked_head_dim, checked_length, is_int

#: Grid of `base_lower_bound`: this many bases a decade, over this many decades from 1.
BASES_PER_DECADE = 1000
DECADES = 12
MAX_BASE = 10.0**DECADES

PUBLISHED_HEAD_DIM = 128
#: Context length in tokens -> lower bound on the base as [2] prints it, for a head_dim of 128.
PUBLISHED_BASE_BOUNDS: Mapping[int, float] = MappingProxyType(
    {
        1 << 10: 4.3e3,
        1 << 11: 1.6e4,
        1 << 12: 2.7e4,
        1 << 13: 8.4e4,
        1 << 14: 3.1e5,
        1 << 15: 6.4e5,
        1 << 16: 2.1e6,
        1 << 17: 7.8e6,
        1 << 18: 3.6e7,
        1 << 19: 6.4e7,
        1 << 20: 5.1e8,
    }
)

FIT_FACTOR, FIT_EXPONENT = 0.0424, 1.628
"""Of `fitted_base_bound`."""


def first_negative(rope_theta: float, length: int, head_dim: int) -> int | None:
    """Return the smallest distance m ≤ ``length`` with B(m) < 0, or None where there is none.

    B(m) = Σ_{i<d/2} cos(m·β^(−2i/d)), the advantage that a token like the query has over a random
    one at a distance of m tokens ([2]).

    >>> first_negative(10_000, length=4096, head_dim=128)
    1707
    >>> first_negative(10_000, length=1706, head_dim=128) is None
    True
    """
    freq = _frequencies(checked_base("rope_theta", rope_theta), checked_head_dim(head_dim))
    return _find_negative(freq, checked_length("length", length, shortest=1), backwards=False)


def base_is_feasible(rope_theta: float, length: int, head_dim: int) -> bool:
    """Return whether B(m) ≥ 0 for every integer 0 ≤ m ≤ ``length`` ([2]; B as `first_negative`).

    Not monotone in the base: a base above a feasible one can be infeasible.

    >>> base_is_feasible(1_000_000, length=16384, head_dim=128)
    True
    >>> base_is_feasible(10_000, length=16384, head_dim=128)
    False
    """
    freq = _frequencies(checked_base("rope_theta", rope_theta), checked_head_dim(head_dim))
    # Backwards: B falls with the distance on average, so a negative one is met sooner.
    return (
        _find_negative(freq, checked_length("length", length, shortest=1), backwards=True) is None
    )


def base_lower_bound(
    length: int, head_dim: int, *, bases_per_decade: int = BASES_PER_DECADE
) -> float | None:
    """Return the smallest feasible base for a context of ``length`` tokens, on a logarithmic grid.

    The bound of [2] is the infimum of the bases with B(m) ≥ 0 for every integer 0 ≤ m ≤ length.
    Feasibility is not monotone in the base, so bisection would be wrong: every base
    10^(k / bases_per_decade), k = 1, 2, …, up to `MAX_BASE` is tried in order, each decided exactly
    (`base_is_feasible`). A feasible stretch narrower than the grid's step can be missed or met:
    report the grid with the number. (At 1M tokens the default grid meets 6.5e7, the next is 3.4e8,
    and [2] prints 5.1e8.) None where no base of the grid is feasible: head_dims of 2 and 4, or tens
    of millions of tokens.

    [2] prints 4.3e3 for 1024 tokens (`PUBLISHED_BASE_BOUNDS`):

    >>> f"{base_lower_bound(1024, head_dim=128):.3g}"
    '4.3e+03'
    """
    length = checked_length("length", length, shortest=1)
    head_dim = checked_head_dim(head_dim)
    if not is_int(bases_per_decade) or bases_per_decade < 1:
        raise SpecError(f"bases_per_decade must be a positive integer, got {bases_per_decade!r}")
    for k in range(1, DECADES * bases_per_decade + 1):
        base = math.pow(10, k / bases_per_decade)
        if _find_negative(_frequencies(base, head_dim), length, backwards=True) is None:
            return base
    return None


def published_base_bound(length: int, head_dim: int) -> float | None:
    """Return the lower bound on the base that [2] prints, or None where it prints none.

    >>> published_base_bound(4096, head_dim=128)
    27000.0
    """
    return PUBLISHED_BASE_BOUNDS.get(length) if head_dim == PUBLISHED_HEAD_DIM else None


def fitted_base_bound(length: int) -> float:
    """Return the lower bound on the base by the power law that [2] fits to its own bounds.

    0.0424·L^1.628, for a head_dim of 128. A fit and no bound: 0.5 to 1.8 times what [2] prints.

    >>> [f"{fitted_base_bound(n):.2g}" for n in (1 << 12, 1 << 17, 1 << 20)]
    ['3.2e+04', '9.1e+06', '2.7e+08']
    >>> [f"{published_base_bound(n, head_dim=128):.2g}" for n in (1 << 12, 1 << 17, 1 << 20)]
    ['2.7e+04', '7.8e+06', '5.1e+08']
    """
    return FIT_FACTOR * math.pow(checked_length("length", length, shortest=1), FIT_EXPONENT)


def _frequencies(base: float, head_dim: int) -> list[float]:
    return [math.pow(base, -2 * i / head_dim) for i in range(head_dim // 2)]


_SLOW = 0.5  # radians that a slow pair turns, at most, from the centre of an interval to its end
_ROUNDING = 1e-6  # above the rounding error of a sum of cosines, up to lengths of 10^8 or so


def _find_negative(freq: list[float], length: int, *, backwards: bool) -> int | None:
    """Return the first (or last) integer m of 0 … length with Σ cos(m·f) < 0, or None.

    Branch and bound over intervals centre ± radius. Over an interval the slow pairs sum to a line,
    with an error of at most ½·(f·radius)² each, and a fast pair is at least −1: an interval where
    that lower bound is positive is passed over, another is cut in three. A part inherits the line
    and adds the pairs that have become slow. The bound only saves work: what is returned, an
    interval of radius 0, has been decided by its own sum.
    """
    radii = [0]
    while 2 * radii[-1] < length:
        radii.append(3 * radii[-1] + 1)
    levels: list[tuple[int, list[float], float]] = []  # radius, pairs new to the line, deficit
    fast = freq
    error = _ROUNDING
    for radius in reversed(radii):
        slow = [f for f in fast if f * radius <= _SLOW]
        fast = [f for f in fast if f * radius > _SLOW]
        error += 0.5 * radius**2 * sum([f * f for f in slow])
        levels.append((radius, slow, error + len(fast)))

    cos, sin = math.cos, math.sin
    stack = [(radii[-1], 0, 0.0, 0.0)]  # centre, level, value and slope of the inherited line
    while stack:
        centre, level, value, slope = stack.pop()
        radius, slow, deficit = levels[level]
        for f in slow:
            angle = centre * f
            value += cos(angle)
            slope -= f * sin(angle)
        if value - abs(slope) * radius > deficit:
            continue
        if radius == 0:
            if sum([cos(centre * f) for f in freq]) < 0:
                return centre
            continue
        part = levels[level + 1][0]
        step = 2 * part + 1
        for offset in (-step, 0, step) if backwards else (step, 0, -step):
            if -part <= centre + offset <= length + part:
                stack.append((centre + offset, level + 1, value + slope * offset, slope))
    return None
