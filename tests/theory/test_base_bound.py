"""The lower bound on the base of arXiv 2405.14591 against published values and direct sums."""

from __future__ import annotations

import math

import pytest

from rope_eval import theory


def direct_first_negative(rope_theta: float, length: int, head_dim: int) -> int | None:
    freq = [rope_theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    for m in range(length + 1):
        if sum(math.cos(m * f) for f in freq) < 0:
            return m
    return None


@pytest.mark.parametrize(
    ("rope_theta", "first"), [(500, 171), (10**4, 1707), (5 * 10**5, 18438), (10**6, 27115)]
)
def test_first_negative(rope_theta: int, first: int) -> None:
    assert theory.first_negative(rope_theta, 1 << 20, 128) == first
    assert theory.first_negative(rope_theta, first, 128) == first  # the end is included
    assert theory.first_negative(rope_theta, first - 1, 128) is None
    assert not theory.base_is_feasible(rope_theta, first, 128)
    assert theory.base_is_feasible(rope_theta, first - 1, 128)


@pytest.mark.parametrize("head_dim", [2, 4, 6, 16, 64, 128])
def test_first_negative_equals_the_direct_search(head_dim: int) -> None:
    found = []
    for rope_theta in (1.01, 3.7, 20, 333, 4321, 87654):
        for length in (1, 2, 3, 17, 400, 1313):
            expected = direct_first_negative(rope_theta, length, head_dim)
            assert theory.first_negative(rope_theta, length, head_dim) == expected
            assert theory.base_is_feasible(rope_theta, length, head_dim) == (expected is None)
            found.append(expected)
    assert None in found
    assert any(found)


@pytest.mark.parametrize(("length", "head_dim"), [(300, 6), (500, 16), (200, 64), (200, 128)])
def test_base_lower_bound_equals_the_direct_scan(length: int, head_dim: int) -> None:
    grid = [10 ** (k / 50) for k in range(1, 401)]
    direct = {b: direct_first_negative(b, length, head_dim) for b in grid}
    for base, first in direct.items():
        assert theory.first_negative(base, length, head_dim) == first
        assert theory.base_is_feasible(base, length, head_dim) == (first is None)
    feasible = [base for base, first in direct.items() if first is None]
    found = theory.base_lower_bound(length, head_dim, bases_per_decade=50)
    assert found == pytest.approx(feasible[0], rel=1e-12)


@pytest.mark.parametrize(
    ("length", "scanned"),
    [
        (1 << 10, "4.30e+03"),
        (1 << 11, "1.16e+04"),
        (1 << 12, "2.86e+04"),
        (1 << 13, "8.39e+04"),
        (1 << 14, "2.34e+05"),
    ],
)
def test_base_lower_bound_of_llama2_heads(length: int, scanned: str) -> None:
    assert f"{theory.base_lower_bound(length, 128):.2e}" == scanned


def test_feasibility_is_not_monotone_in_the_base() -> None:
    # Bases 10^(k/1000) from the bound at 8192 tokens, 8.39e4, to the last infeasible one, 3.9e5.
    for k, feasible in [(4923, False), (4924, True), (4930, False), (5595, False), (5596, True)]:
        base = 10 ** (k / 1000)
        assert theory.base_is_feasible(base, 8192, 128) == feasible
        assert (direct_first_negative(base, 8192, 128) is None) == feasible


def test_base_lower_bound_depends_on_the_grid() -> None:
    coarse = theory.base_lower_bound(4096, 128, bases_per_decade=10)
    assert coarse == pytest.approx(10**4.7)  # inside the feasible stretch of 4.71e4, not of 2.86e4


def test_base_lower_bound_of_heads_without_any() -> None:
    assert theory.base_lower_bound(4096, 2, bases_per_decade=100) is None


def test_published_bounds() -> None:
    assert theory.published_base_bound(32768, 128) == 6.4e5
    assert theory.published_base_bound(32768, 64) is None
    assert theory.published_base_bound(32767, 128) is None
    lengths = [1024 * 2**k for k in range(11)]
    bounds = [4.3e3, 1.6e4, 2.7e4, 8.4e4, 3.1e5, 6.4e5, 2.1e6, 7.8e6, 3.6e7, 6.4e7, 5.1e8]
    assert dict(theory.PUBLISHED_BASE_BOUNDS) == dict(zip(lengths, bounds, strict=True))
