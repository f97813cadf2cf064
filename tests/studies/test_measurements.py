"""The study's methods are settings that the registry knows."""

from typing import Any

import pytest

from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws import measurements
from studies.scaling_laws.extensions import extensions
from studies.scaling_laws.recipes.grids import GRIDS


@pytest.mark.parametrize("name", measurements.METHODS)
def test_a_method_of_the_study_is_a_setting(name: str) -> None:
    fields = dict(measurements.METHODS[name])
    spec = RopeSpec.from_dict(fields)
    assert spec.to_dict() == fields
    assert not spec.is_neutral


def test_what_is_also_asked_is_among_them() -> None:
    chosen = (*measurements.ALSO_WRONG, *measurements.IN_RETRIEVAL, *measurements.IN_ATTENTION)
    assert set(chosen) <= set(measurements.METHODS)


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


@pytest.mark.parametrize(
    ("checkpoint", "names"),
    [
        ("pretrained", tuple(extensions(train_length=128, head_dim=64, pretrain_theta=1e4))),
        ("base-1e5", measurements.SOME_EXTENSIONS),
        ("base-1e4", ()),
    ],
)
def test_extensions_are_asked_for_curves_and_needles(
    checkpoint: str, names: tuple[str, ...]
) -> None:
    asked = {
        (m.kind, m.method)
        for m in measurements.measurements(GRIDS["lab"])
        if m.recipe.name == checkpoint
        and m.method in extensions(train_length=128, head_dim=64, pretrain_theta=1e4)
    }
    kinds = (measurements.Kind.CURVE, measurements.Kind.RETRIEVAL)
    assert asked == {(kind, name) for kind in kinds for name in names}
