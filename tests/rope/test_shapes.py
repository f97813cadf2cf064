"""Periods and seen distances, as plain numbers."""

from __future__ import annotations

import math

import pytest

from rope_eval.errors import SpecError
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.shapes import periods, seen_distances
from rope_eval.rope.spec import RopeSpec

GEOMETRY = RotaryGeometry(head_dim=8, rotary_dim=8, rope_theta=1e4, train_length=64)


@pytest.mark.parametrize(
    ("setting", "length", "expected"),
    [
        ("", 512, [2 * math.pi * 10**n for n in range(4)]),
        ("linear_factor=8", 512, [16 * math.pi * 10**n for n in range(4)]),
        ("hard_clip=2", 512, [2 * math.pi, 20 * math.pi, math.inf, math.inf]),
        # α = 2^(⌈log₂ 2⌉ + 1) − 1 = 3
        (
            "dynamic_ntk=per_sequence,reference_length=train",
            128,
            [2 * math.pi * 3e4 ** (n / 4) for n in range(4)],
        ),
        (
            "dynamic_ntk=per_sequence,reference_length=train",
            64,
            [2 * math.pi * 10**n for n in range(4)],
        ),
    ],
)
def test_periods(setting: str, length: int, expected: list[float]) -> None:
    found = periods(RopeSpec.parse(setting), GEOMETRY, length=length)
    assert found == pytest.approx(expected, rel=1e-12)


def test_distances_are_those_that_the_query_sees() -> None:
    spec = RopeSpec.parse("leaky_rerope_window=8,leaky_rerope_factor=4")
    found = seen_distances(spec, GEOMETRY, query=100, distances=[0, 7, 8, 28, 100])
    assert found == [0, 7, 8, 13, 31]
    chunks = RopeSpec.parse("dual_chunk_size=10,dual_chunk_limit=15")
    # the query at 23 is at 3 in its chunk, at 13 to the one before, at 15 to older ones
    found = seen_distances(chunks, GEOMETRY, query=23, distances=[0, 3, 4, 13, 14, 23])
    assert found == [0, 3, 4, 13, 6, 15]


def test_a_setting_that_maps_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="xpos=True maps no positions"):
        seen_distances(RopeSpec(xpos=True), GEOMETRY, query=9, distances=[1])
