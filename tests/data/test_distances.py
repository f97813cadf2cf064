"""Distances: drawn from all of a range, evenly, and put together in bins."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from rope_eval.data.distances import Distances
from rope_eval.errors import SpecError

SOME = Distances(shortest=24, longest=535, samples=2048, bins=64, seed=0)


def test_each_distance_is_drawn_about_as_often() -> None:
    counts = Counter(SOME.drawn)
    assert set(counts) == set(range(24, 536))  # 4 samples a distance, and strata no wider
    assert set(counts.values()) == {4}
    assert len(SOME.drawn) == 2048


def test_few_samples_leave_no_gap_and_are_drawn_uniformly() -> None:
    few = replace(SOME, samples=64)
    drawn = sorted(few.drawn)
    assert [(n - 24) // 8 for n in drawn] == list(range(64))  # one of each 8 distances
    places = Counter((n - 24) % 8 for seed in range(100) for n in replace(few, seed=seed).drawn)
    assert set(places) == set(range(8))
    assert all(abs(count - 800) < 5 * 800**0.5 for count in places.values())


def test_the_first_samples_are_from_all_of_the_range() -> None:
    some = SOME.drawn[:128]
    assert min(some) < 64 and max(some) > 495
    assert 200 < sum(some) / 128 < 360


def test_all_comes_from_the_seed() -> None:
    again = Distances(shortest=24, longest=535, samples=2048, bins=64, seed=0)
    assert again.drawn == SOME.drawn != replace(SOME, seed=1).drawn


def test_bins_part_the_range() -> None:
    assert SOME.ends[:2] == (31, 39) and SOME.ends[-1] == 535
    assert list(SOME.starts())[:2] == [24, 32]
    assert [SOME.end_of(n) for n in (24, 31, 32, 535)] == [31, 31, 39, 535]
    assert set(Counter(map(SOME.end_of, SOME.drawn)).values()) == {32}
    uneven = Distances(shortest=1, longest=10, samples=8, bins=4, seed=0)
    assert [uneven.end_of(n) for n in range(1, 11)] == [2, 2, 5, 5, 5, 7, 7, 10, 10, 10]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longest": 24}, r"a greater longest one, 1 or more, got \[24, 24\]"),
        ({"shortest": 0}, r"got \[0, 535\]"),
        ({"samples": 0}, "bins must be from 1 to 0"),
        ({"bins": 0}, "bins must be from 1 to 512, the number of samples or of distances, got 0"),
        ({"bins": 513}, "from 1 to 512"),
        ({"samples": 10}, "from 1 to 10"),
        ({"shortest": "24"}, "must be whole numbers, got '24'"),
        ({"bins": True}, "must be whole numbers"),
        ({"seed": -1}, "must be whole numbers"),
    ],
)
def test_what_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(SOME, **changes)
