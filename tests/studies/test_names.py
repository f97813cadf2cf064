"""The study's methods are settings that the registry knows."""

from typing import Any

import pytest

from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws import names
from studies.scaling_laws.extensions import extensions
from studies.scaling_laws.recipes.grids import GRIDS, LAB


@pytest.mark.parametrize("name", names.METHODS)
def test_a_method_of_the_study_is_a_setting(name: str) -> None:
    fields = dict(names.METHODS[name])
    spec = RopeSpec.from_dict(fields)
    assert spec.to_dict() == fields
    assert not spec.is_neutral


def test_what_is_also_asked_is_among_them() -> None:
    assert {*names.ALSO_WRONG, *names.IN_RETRIEVAL} <= set(names.METHODS)


LLAMA2: dict[str, Any] = {"train_length": 4096, "head_dim": 128, "pretrain_theta": 1e4}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("ReRoPE", {"rerope_window": 1024}),
        ("Self-Extend", {"self_extend_window": 1024, "self_extend_group": 8}),
        ("DCA", {"dual_chunk_size": 2560}),
        ("STRING", {"string_shift": 1352, "string_window": 128}),
        ("HardClip", {"hard_clip": 20}),
        ("CoPE", {"cope": 20}),
    ],
)
def test_the_ratios_are_the_authors(name: str, theirs: dict[str, int]) -> None:
    assert extensions(**LLAMA2)[name] == theirs


def test_longrope_divides_by_the_factor_from_the_critical_pair_on() -> None:
    short, long = extensions(**LLAMA2)["LongRoPE"]["longrope_factors"]
    assert set(short) == {1.0} and len(short) == len(long) == 64
    assert long[:2] == [1.0, pytest.approx(8 ** (1 / 46), abs=1e-4)]
    assert long[45] < 8 and set(long[46:]) == {8.0}


@pytest.mark.parametrize("grid", GRIDS)
def test_each_setting_has_one_name(grid: str) -> None:
    for recipe in GRIDS[grid].recipes:
        settings = names.settings_of(recipe.rope)
        assert len(settings) == 1 + 10 + 3 + 19
        found = {name: names.name_of(rope, recipe.rope) for name, rope in settings.items()}
        if recipe.rope.beyond_critical == "drop":
            assert found.pop("drop") == names.AS_TRAINED
        assert all(name == said for name, said in found.items())


def test_a_name_does_not_ask_for_the_base() -> None:
    trained = next(recipe.rope for recipe in LAB if recipe.name == "base-1e5-512")
    asked = {"train_length": 128, "tune_length": 512, "pretrain_theta": 10000}
    assert names.name_of(RopeSpec.from_dict(asked), trained) == names.AS_TRAINED
    assert names.name_of(RopeSpec.from_dict(asked | {"log_scale": True}), trained) == "log"
    wrong = asked | {"log_scale": True, "reference_length": "train"}
    assert names.name_of(RopeSpec.from_dict(wrong), trained) == "log (wrong)"
    assert names.name_of(RopeSpec.from_dict(asked | {"linear_factor": 3}), trained) is None
    assert names.name_of(RopeSpec.from_dict(asked | {"tune_length": 256}), trained) is None
