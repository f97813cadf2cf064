"""Grouping by base: what shares one is scored together, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rope_eval.rope.rotary import Rotary, RotaryGeometry
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import by_base, score_by_base

TINY = RotaryGeometry(head_dim=16, rotary_dim=8, rope_theta=10000.0, train_length=32)
TEXTS = ["a" * n for n in (40, 8, 9, 16, 100, 33)]


def rotary(spec: str) -> Rotary:
    return Rotary(RopeSpec.parse(spec), TINY)


@pytest.mark.parametrize(
    ("spec", "groups"),
    [
        ("", [[40, 8, 9, 16, 100, 33]]),
        ("dynamic_ntk=per_query,reference_length=16", [[40, 8, 9, 16, 100, 33]]),
        ("dynamic_ntk=per_sequence,reference_length=16", [[40, 33], [8, 9, 16], [100]]),
        (
            "dynamic_ntk=per_sequence,ntk_formula=continuous,reference_length=16",
            [[40], [8, 9, 16], [100], [33]],
        ),
    ],
)
def test_items_of_one_base_go_together(spec: str, groups: list[list[int]]) -> None:
    found = by_base([rotary(spec)], TEXTS, len)
    assert [[len(text) for text in group] for group in found] == groups


def test_nothing_has_no_group() -> None:
    assert by_base([rotary("dynamic_ntk=per_sequence,reference_length=16")], TEXTS[:0], len) == []


def test_each_base_is_one_pass_and_progress_counts_all_tokens() -> None:
    passes: list[int] = []
    seen: list[float] = []

    def score(length: int, report: Callable[[float], None]) -> TokenScores:
        passes.append(length)
        report(0.5)
        report(1.0)
        return TokenScores(nll=np.full(length - 1, length, np.float32), hit=np.ones(length - 1) > 0)

    spec = rotary("dynamic_ntk=per_sequence,reference_length=16")
    found = score_by_base([spec], [8, 20, 16, 32], score, seen.append)
    assert passes == [16, 32]
    assert {n: (len(s.nll), float(s.nll[0])) for n, s in found.items()} == {
        8: (7, 16.0),
        20: (19, 32.0),
        16: (15, 16.0),
        32: (31, 32.0),
    }
    assert list(found) == [8, 20, 16, 32]
    assert seen == pytest.approx([8 / 48, 16 / 48, 32 / 48, 1.0])
