"""The study's methods are settings that the registry knows."""

import pytest

from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws import measurements


@pytest.mark.parametrize("name", measurements.METHODS)
def test_a_method_of_the_study_is_a_setting(name: str) -> None:
    fields = dict(measurements.METHODS[name])
    spec = RopeSpec.from_dict(fields)
    assert spec.to_dict() == fields
    assert not spec.is_neutral


def test_what_is_also_asked_is_among_them() -> None:
    chosen = (*measurements.ALSO_WRONG, *measurements.IN_RETRIEVAL, *measurements.IN_ATTENTION)
    assert set(chosen) <= set(measurements.METHODS)
