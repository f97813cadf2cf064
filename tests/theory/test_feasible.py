"""The feasible bases of a grid against one decision each."""

from __future__ import annotations

import math

import pytest

from rope_eval import theory
from rope_eval.errors import SpecError


def test_slivers_are_the_runs_of_feasible_bases() -> None:
    found = theory.feasible_bases(512, head_dim=64, low=1e3, high=1e5, bases_per_decade=40)
    grid = [10 ** (k / 40) for k in range(120, 201)]
    feasible = {base for base in grid if theory.base_is_feasible(base, 512, 64)}
    covered = {base for base in grid if any(s.low <= base <= s.high for s in found.slivers)}
    assert covered == feasible
    assert 0 < len(feasible) < len(grid)
    assert found.share == len(feasible) / len(grid)
    assert (found.low, found.high) == (grid[0], grid[-1])
    assert found.from_here_on is not None
    infeasible = [base for base in grid if base not in feasible]
    assert grid[grid.index(max(infeasible)) + 1] == found.from_here_on
    assert found.slivers[-1].width == pytest.approx(found.high / found.from_here_on)


def test_the_first_sliver_begins_at_the_bound() -> None:
    found = theory.feasible_bases(1024, head_dim=128, low=1e3, high=1e4)
    assert found.slivers[0].low == theory.base_lower_bound(1024, head_dim=128)


def test_nothing_feasible_has_no_sliver() -> None:
    found = theory.feasible_bases(131072, head_dim=128, low=1e4, high=1e5, bases_per_decade=10)
    assert (found.slivers, found.share, found.from_here_on) == ((), 0.0, None)


@pytest.mark.parametrize(
    "bases", [(1e5, 1e4, 100), (1.1, 1e300, 1000), (1e4, 1e5, 0), (2, 2.001, 9)]
)
def test_a_grid_that_makes_no_sense_is_refused(bases: tuple[float, float, int]) -> None:
    low, high, step = bases
    with pytest.raises(SpecError):
        theory.feasible_bases(1024, 128, low=low, high=high, bases_per_decade=step)


def test_the_fit_lies_about_what_is_printed() -> None:
    ratios = [
        theory.fitted_base_bound(length) / bound
        for length, bound in theory.PUBLISHED_BASE_BOUNDS.items()
    ]
    assert min(ratios) > 0.5 and max(ratios) < 1.8
    assert math.isclose(theory.fitted_base_bound(2000) / theory.fitted_base_bound(1000), 2**1.628)
