"""What the laws refuse, and that each has its source."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest

from rope_eval import theory
from rope_eval.errors import SpecError

LLAMA2: dict[str, Any] = {"head_dim": 128, "train_length": 4096}


NO_BASE: list[Any] = [1, 1.0, 0, -5, 0.5, math.nan, math.inf, -math.inf, "500", None, True, 10**400]
NO_LENGTH: list[Any] = [6, 0, -1, 4096.0, "4k", True, math.nan]


@pytest.mark.parametrize("base", NO_BASE)
def test_bad_base(base: Any) -> None:
    for call in (
        lambda: theory.periods(base, head_dim=128),
        lambda: theory.extrapolation_bound(base, **LLAMA2),
        lambda: theory.effective_dimension(base, **LLAMA2),
        lambda: theory.first_negative(base, 4096, 128),
        lambda: theory.base_is_feasible(base, 4096, 128),
    ):
        with pytest.raises(SpecError, match="rope_theta must be"):
            call()
    for call in (
        lambda: theory.critical_dimension(**LLAMA2, pretrain_theta=base),
        lambda: theory.critical_base(4096, pretrain_theta=base),
        lambda: theory.extrapolation_bound(500, **LLAMA2, pretrain_theta=base),
        lambda: theory.smallest_base_for(8192, train_length=4096, pretrain_theta=base),
    ):
        with pytest.raises(SpecError, match="pretrain_theta must be"):
            call()


@pytest.mark.parametrize("head_dim", [0, -2, 127, 64.0, "128", None, True])
def test_bad_head_dim(head_dim: Any) -> None:
    for call in (
        lambda: theory.periods(500, head_dim=head_dim),
        lambda: theory.critical_dimension(head_dim, 4096),
        lambda: theory.extrapolation_bound(500, head_dim=head_dim, train_length=4096),
        lambda: theory.effective_dimension(500, head_dim=head_dim, train_length=4096),
        lambda: theory.first_negative(500, 4096, head_dim),
        lambda: theory.base_is_feasible(500, 4096, head_dim),
        lambda: theory.base_lower_bound(4096, head_dim),
    ):
        with pytest.raises(SpecError, match="head_dim must be an even positive integer"):
            call()


@pytest.mark.parametrize("length", NO_LENGTH)
def test_bad_length(length: Any) -> None:
    for name, call in (
        ("train_length", lambda: theory.critical_dimension(128, length)),
        ("train_length", lambda: theory.critical_base(length)),
        ("tune_length", lambda: theory.critical_base(4096, length)),
        ("tune_length", lambda: theory.extrapolation_bound(500, **LLAMA2, tune_length=length)),
        ("target_length", lambda: theory.smallest_base_for(length, train_length=4096)),
        ("train_length", lambda: theory.smallest_base_for(4096, train_length=length)),
        ("tune_length", lambda: theory.pivot_bases(length)),
    ):
        with pytest.raises(SpecError, match=f"{name} must be"):
            call()


@pytest.mark.parametrize("length", [0, -1, 4096.0, "4k", True])
def test_bad_context(length: Any) -> None:
    for call in (
        lambda: theory.first_negative(500, length, 128),
        lambda: theory.base_is_feasible(500, length, 128),
        lambda: theory.base_lower_bound(length, 128),
    ):
        with pytest.raises(SpecError, match="length must be"):
            call()


def test_tuning_shorter_than_pretraining_has_no_law() -> None:
    with pytest.raises(SpecError, match="tune_length must be at least train_length"):
        theory.critical_base(4096, 4095)


def test_base_beyond_the_floats() -> None:
    with pytest.raises(SpecError, match="longer train_length"):
        theory.smallest_base_for(1 << 20, train_length=7)


@pytest.mark.parametrize("grid", [0, -1, 10.0, True])
def test_bad_grid(grid: Any) -> None:
    with pytest.raises(SpecError, match="bases_per_decade must be a positive integer"):
        theory.base_lower_bound(1024, 128, bases_per_decade=grid)


def test_every_public_law_has_a_source_and_a_doctest() -> None:
    functions = [
        value
        for name, value in vars(theory).items()
        if inspect.isfunction(value) and name in theory.__all__
    ]
    assert len(functions) == 16
    for function in functions:
        assert function.__doc__ is not None
        assert ">>>" in function.__doc__, function.__name__
        assert re.search(r"\[[1-5]\]", function.__doc__), function.__name__
