"""Grades follow from points, and points from intervals and seeds."""

from __future__ import annotations

import math

import pytest

from studies.scaling_laws import verdicts
from studies.scaling_laws.claim import Finding
from studies.scaling_laws.sampling import Estimate
from studies.scaling_laws.verdicts import Check, Grade


def checks(*holds: bool | None, **fields: bool) -> list[Check]:
    return [Check(statement="s", at=str(i), holds=h, **fields) for i, h in enumerate(holds)]


@pytest.mark.parametrize(
    ("holds", "grade"),
    [
        ((True, True), Grade.SUPPORTED),
        ((True, False), Grade.WITHIN),
        ((True, None), Grade.WITHIN),
        ((True, False, None), Grade.NOT_SEEN),
        ((True, False, False), Grade.CONTRADICTED),
        ((False, None), Grade.NOT_SEEN),
        ((False, False, None), Grade.CONTRADICTED),
        ((None, None), Grade.NOT_SEEN),
    ],
)
def test_a_grade_follows_from_the_points(holds: tuple[bool | None, ...], grade: Grade) -> None:
    (one,) = verdicts.statements(checks(*holds))
    assert one.grade is grade


def test_controls_have_no_part_in_a_verdict() -> None:
    found = Finding(
        name="a",
        title="a",
        source="",
        claim="",
        checks=(*checks(True, True), *checks(False, control=True)),
    )
    assert found.verdict == "1 supported"
    (control,) = found.controls
    assert control.at(False) == ["0"]


def test_where_it_was_tested_is_said() -> None:
    (one,) = verdicts.statements(checks(True, False, None))
    assert one.tested == "holds at 0; the contrary holds at 1; open at 2"
    (many,) = verdicts.statements(checks(*[True] * 7, False))
    assert many.tested == "holds at 7 of 8; the contrary holds at 7"
    (all_of,) = verdicts.statements(checks(*[True] * 13))
    assert all_of.tested == "holds at all 13: 0 to 12"


def test_statements_of_several_subjects_are_apart() -> None:
    some = [Check(subject=x, statement="helps", at="1", holds=True) for x in ("a", "b", "a")]
    assert [(one.text, len(one.checks)) for one in verdicts.statements(some)] == [
        ("a helps", 2),
        ("b helps", 1),
    ]


def test_one_seed_that_says_the_contrary_opens_a_point() -> None:
    whole = checks(True, False, True, None)
    alone = {0: checks(True, False, True, True), 1: checks(False, None, None, False)}
    found = verdicts.against_seeds(whole, alone)
    assert [check.holds for check in found] == [None, False, True, None]
    assert [check.seeds for check in found] == [(1,), (), (), ()]


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(0.8, 1.2, True), (0.8, 1.3, None), (1.3, 1.4, False), (0.1, 0.2, False), (0.7, 1.0, None)],
)
def test_a_whole_interval_decides(low: float, high: float, holds: bool | None) -> None:
    one = Estimate(value=1.0, low=low, high=high, sets=())
    assert verdicts.within("s", "x", one, 0.75, 1.25).holds is holds
    nothing = Estimate(value=math.nan, low=math.nan, high=math.nan, sets=())
    assert verdicts.within("s", "x", nothing, 0.75, 1.25).holds is None
