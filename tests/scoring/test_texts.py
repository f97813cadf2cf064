"""NLL of whole texts: what is shared, on which device it pays, and that it changes no score."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from helpers import models
from rope_eval import RopeSpec, patched, score_tokens
from rope_eval.scoring import texts
from rope_eval.scoring.texts import Family, Ids, families, sharing_pays, whole_nll

NATS = 1e-3  # over a whole text: the same arithmetic in another order
BEGINNING = tuple(models.token_ids(100)[0].tolist())
ALIKE = [(*BEGINNING, 1, 5), (*BEGINNING, 2), (*BEGINNING, 3, 4, 9)]
OTHERS = [BEGINNING[7:20], BEGINNING[9:40]]
SPECS = ("", "dynamic_ntk=per_query,reference_length=16", "dynamic_ntk=per_sequence,xpos=true")


@pytest.mark.parametrize("spec", SPECS)
def test_each_text_has_the_score_that_it_has_alone(spec: str) -> None:
    asked = [OTHERS[0], *ALIKE, OTHERS[1], ALIKE[0]]
    left: list[Ids] = []
    with patched(models.tiny(), RopeSpec.parse(spec)) as model:
        wanted = [
            float(score_tokens(model, torch.tensor(text)).nll.sum(dtype="float64"))
            for text in asked
        ]
        assert whole_nll(model, asked) == pytest.approx(wanted, abs=NATS)

        def alone(rest: list[Ids]) -> list[float]:
            left.extend(rest)
            return [0.0] * len(rest)

        found = whole_nll(model, asked, alone=alone)
    assert left == OTHERS  # each once, in order, and none of those that were shared
    assert found == pytest.approx([0.0, *wanted[1:4], 0.0, wanted[5]], abs=NATS)


def test_longer_texts_are_not_shared() -> None:
    left: list[Ids] = []
    with patched(models.tiny(), RopeSpec()) as model:
        whole_nll(model, ALIKE, longest_shared=102, alone=lambda rest: left.extend(rest) or [0.0])
    assert left == ALIKE[2:]


def test_families_pass_through_the_bar() -> None:
    seen: list[Family] = []

    def track(alike: list[Family]) -> Iterator[Family]:
        for family in alike:
            seen.append(family)
            yield family

    with patched(models.tiny(), RopeSpec()) as model:
        whole_nll(model, ALIKE + OTHERS, track=track)
    assert seen == [sorted(ALIKE)]


def test_sharing_is_weighed_for_the_device_that_the_model_is_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sharing_pays(sorted(ALIKE), "cpu") and not sharing_pays(sorted(ALIKE), "cuda")
    monkeypatch.setattr(texts, "_walk", lambda model, family: [1.0] * len(family))
    with patched(models.tiny(), RopeSpec()) as model:
        assert whole_nll(model, ALIKE, alone=lambda rest: [0.0] * len(rest)) == [1.0] * 3
        monkeypatch.setattr(texts, "input_device", lambda model: torch.device("cuda"))
        assert whole_nll(model, ALIKE, alone=lambda rest: [0.0] * len(rest)) == [0.0] * 3


def test_neighbours_with_little_in_common_are_strangers() -> None:
    few = [(1, 5), (1, *range(9)), (1, *range(8), 3), (1, *range(7), 9)]
    assert list(families(few)) == [sorted(few)[:3], [(1, 5)]]
    assert list(families(few[1:1])) == []
