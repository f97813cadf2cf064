"""The laws of RoPE's base and context length, in plain Python.

Sources:

- [1] *Scaling Laws of RoPE-based Extrapolation*, arXiv 2310.05209: critical dimension, critical
  base, extrapolation bound, pivot bases.
- [2] *Base of RoPE Bounds Context Length*, arXiv 2405.14591: the lower bound on the base.

Symbols of [1] and the names used here: d = ``head_dim`` (the rotary dimension, so `head_dim` times
`partial_rotary_factor` for a partly rotated head), T_train = ``train_length``, T_tune =
``tune_length``, β = ``rope_theta`` after tuning, β_pre = ``pretrain_theta`` (10000 in [1]).
Lengths and periods are in tokens. A *dimension* counts two for each rotated pair.

Every function raises `SpecError` for a base that is not a finite number above 1, for a head_dim
that is not even and positive, and for a length too short for its law.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import MappingProxyType

from rope_eval.errors import SpecError

TWO_PI = 2 * math.pi

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


def periods(rope_theta: float, *, head_dim: int) -> tuple[float, ...]:
    """Return the period of each rotated pair, in tokens, fastest first (F = head_dim / 2 of them).

    T_n = 2π·β^(2n/d), n = 0 … d/2−1 ([1], Eq. 3).

    In LLaMA2 pair 45 is the last to turn fully within the 4096 tokens of pre-training:

    >>> [round(t) for t in periods(10000, head_dim=128)[45:47]]
    [4080, 4712]
    """
    base = _base("rope_theta", rope_theta)
    d = _head_dim(head_dim)
    return tuple(TWO_PI * math.pow(base, 2 * n / d) for n in range(d // 2))


def critical_dimension(head_dim: int, train_length: int, *, pretrain_theta: float = 10000.0) -> int:
    """Return how many leading dimensions saw a full period in pre-training.

    d_extra = 2·⌈(d/2)·log_{β_pre}(T_train/2π)⌉, at most d ([1], Lemma 1, Eq. 4). It counts
    dimensions: LLaMA2's 92 are the first 46 of 64 pairs. It is d where T_train is so long that
    every pair turns fully.

    >>> critical_dimension(head_dim=128, train_length=4096)
    92
    >>> critical_dimension(head_dim=128, train_length=1_000_000)
    128
    """
    return _full_period_dimensions(
        _head_dim(head_dim),
        _length("train_length", train_length),
        _base("pretrain_theta", pretrain_theta),
    )


def critical_base(
    train_length: int, tune_length: int | None = None, *, pretrain_theta: float = 10000.0
) -> float:
    """Return the base up to which tuning extends the critical dimension, and not the bound.

    β₀ = β_pre^(ln(T_tune/2π) / ln(T_train/2π)) ([1], Theorem 3, Eq. 12). ``tune_length`` is
    ``train_length`` by default, which makes β₀ = β_pre. The law asks for T_tune ≥ T_train.

    >>> round(critical_base(train_length=4096, tune_length=16384))
    71738
    >>> critical_base(train_length=4096)
    10000.0
    """
    train, tune = _lengths(train_length, tune_length)
    return _base_reaching(tune, train, _base("pretrain_theta", pretrain_theta))


def extrapolation_bound(
    rope_theta: float,
    *,
    head_dim: int,
    train_length: int,
    tune_length: int | None = None,
    pretrain_theta: float = 10000.0,
) -> float:
    """Return T_extra, the longest context in tokens that the tuned model extrapolates to.

    - β > β₀: T_extra = 2π·β^(d_extra/d) ([1], Theorem 2, Eq. 5; Theorem 3, Eq. 13);
    - β ≤ β₀: T_extra = T_tune ([1], Theorem 3). Below the `pivot_bases` a model holds on beyond
      that, and [1] gives no bound.

    β₀ is `critical_base`, d_extra `critical_dimension`. The value is not rounded. [1] does not
    treat a d_extra capped at d, where the first case can fall below T_tune.

    >>> round(extrapolation_bound(40000, head_dim=128, train_length=4096))
    12762
    >>> extrapolation_bound(500, head_dim=128, train_length=4096, tune_length=16384)
    16384.0
    """
    base = _base("rope_theta", rope_theta)
    d = _head_dim(head_dim)
    train, tune = _lengths(train_length, tune_length)
    pretrain = _base("pretrain_theta", pretrain_theta)
    if base <= _base_reaching(tune, train, pretrain):
        return float(tune)
    return TWO_PI * math.pow(base, _full_period_dimensions(d, train, pretrain) / d)


def effective_dimension(
    rope_theta: float,
    *,
    head_dim: int,
    train_length: int,
    tune_length: int | None = None,
    pretrain_theta: float = 10000.0,
) -> int:
    """Return the critical dimension after tuning: how many leading dimensions saw a full period.

    - β > β₀: d_extra still, as pre-training left it;
    - β ≤ β₀: d'_extra = 2·⌈(d/2)·log_β(T_tune/2π)⌉, at most d ([1], Theorem 3, Eq. 14).

    >>> effective_dimension(1_000_000, head_dim=128, train_length=4096, tune_length=16384)
    92
    >>> effective_dimension(10_000, head_dim=128, train_length=4096, tune_length=16384)
    110
    >>> effective_dimension(500, head_dim=128, train_length=4096, tune_length=16384)
    128
    """
    base = _base("rope_theta", rope_theta)
    d = _head_dim(head_dim)
    train, tune = _lengths(train_length, tune_length)
    pretrain = _base("pretrain_theta", pretrain_theta)
    if base <= _base_reaching(tune, train, pretrain):
        return _full_period_dimensions(d, tune, base)
    return _full_period_dimensions(d, train, pretrain)


def smallest_base_for(
    target_length: int, *, train_length: int, pretrain_theta: float = 10000.0
) -> float:
    """Return the smallest base whose extrapolation bound reaches ``target_length`` tokens.

    β₀(T̃) = β_pre^(ln(T̃/2π) / ln(T_train/2π)) ([1], Theorem 2, Eq. 6).

    Eq. 6 has no ceiling and Eq. 5 has one: d_extra is rounded up to a whole pair, so that
    T_extra(β₀(T̃)) ≥ T̃, and equal to it only by chance. (Not so where d_extra is capped at d.)

    >>> base = smallest_base_for(100_000, train_length=4096)
    >>> round(base)
    938327
    >>> round(extrapolation_bound(base, head_dim=128, train_length=4096))
    123256
    """
    return _base_reaching(
        _length("target_length", target_length),
        _length("train_length", train_length),
        _base("pretrain_theta", pretrain_theta),
    )


def pivot_bases(tune_length: int) -> tuple[float, float, float]:
    """Return (β₁, β₂, β₃), below which tuning shows every pair a quarter, half and full period.

    β₁ = 2·T_tune/π, β₂ = T_tune/π, β₃ = T_tune/2π ([1], Theorem 1, Eq. 1; Theorem 3, Eq. 15).
    Extrapolation improves faster below each.

    >>> [round(base) for base in pivot_bases(4096)]
    [2608, 1304, 652]
    """
    tune = _length("tune_length", tune_length)
    return 2 * tune / math.pi, tune / math.pi, tune / TWO_PI


def first_negative(rope_theta: float, length: int, head_dim: int) -> int | None:
    """Return the smallest distance m ≤ ``length`` with B(m) < 0, or None where there is none.

    B(m) = Σ_{i<d/2} cos(m·β^(−2i/d)), the advantage that a token like the query has over a random
    one at a distance of m tokens ([2]).

    >>> first_negative(10_000, length=4096, head_dim=128)
    1707
    >>> first_negative(10_000, length=1706, head_dim=128) is None
    True
    """
    freq = _frequencies(_base("rope_theta", rope_theta), _head_dim(head_dim))
    return _find_negative(freq, _length("length", length, shortest=1), backwards=False)


def base_is_feasible(rope_theta: float, length: int, head_dim: int) -> bool:
    """Return whether B(m) ≥ 0 for every integer 0 ≤ m ≤ ``length`` ([2]; B as `first_negative`).

    Not monotone in the base: a base above a feasible one can be infeasible.

    >>> base_is_feasible(1_000_000, length=16384, head_dim=128)
    True
    >>> base_is_feasible(10_000, length=16384, head_dim=128)
    False
    """
    freq = _frequencies(_base("rope_theta", rope_theta), _head_dim(head_dim))
    # Backwards: B falls with the distance on average, so a negative one is met sooner.
    return _find_negative(freq, _length("length", length, shortest=1), backwards=True) is None


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
    length = _length("length", length, shortest=1)
    head_dim = _head_dim(head_dim)
    if not _is_int(bases_per_decade) or bases_per_decade < 1:
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


def _full_period_dimensions(head_dim: int, length: int, base: float) -> int:
    pairs = math.ceil(head_dim / 2 * math.log(length / TWO_PI) / math.log(base))
    return min(2 * pairs, head_dim)


def _base_reaching(length: int, train_length: int, pretrain_theta: float) -> float:
    exponent = math.log(length / TWO_PI) / math.log(train_length / TWO_PI)
    try:
        return math.pow(pretrain_theta, exponent)
    except OverflowError:
        raise SpecError(
            f"no finite base takes a model from train_length={train_length} to {length} tokens: "
            "give a longer train_length"
        ) from None


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


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _base(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(f"{name} must be a number, got {value!r}")
    if not 1 < value <= sys.float_info.max:
        raise SpecError(f"{name} must be finite and greater than 1, got {value!r}")
    return float(value)


def _head_dim(value: int) -> int:
    if not _is_int(value) or value < 2 or value % 2:
        raise SpecError(f"head_dim must be an even positive integer, got {value!r}")
    return value


def _length(name: str, value: int, *, shortest: int = 7) -> int:
    """Check a length in tokens; 7 is the first above 2π, where the logarithms turn positive."""
    if not _is_int(value):
        raise SpecError(f"{name} must be a whole number of tokens, got {value!r}")
    if value < shortest:
        raise SpecError(f"{name} must be at least {shortest} tokens, got {value}")
    return value


def _lengths(train_length: int, tune_length: int | None) -> tuple[int, int]:
    train = _length("train_length", train_length)
    tune = train if tune_length is None else _length("tune_length", tune_length)
    if tune < train:
        raise SpecError(
            f"tune_length must be at least train_length: the law is stated for no other case; "
            f"got tune_length={tune} and train_length={train}"
        )
    return train, tune
