"""The fitted critical dimension, slow pairs and disturbed angles against published numbers."""

from __future__ import annotations

import math

import pytest

from rope_eval import theory
from rope_eval.errors import SpecError


def test_pairs_by_theory_are_those_that_longrope2_prints() -> None:
    by_theory = {
        "Llama 3 8B": theory.critical_dimension(128, 8192, pretrain_theta=5e5) // 2,
        "Phi-3 mini": theory.critical_dimension(96, 2048) // 2,
    }
    printed = {name: pairs for name, (pairs, _) in theory.PUBLISHED_CRITICAL_PAIRS.items()}
    assert by_theory == printed == {"Llama 3 8B": 35, "Phi-3 mini": 31}


def test_a_fit_turns_the_bound_round() -> None:
    bases = (40_000, 1e6, 1e7)
    contexts = {b: theory.extrapolation_bound(b, head_dim=128, train_length=4096) for b in bases}
    fit = theory.fitted_critical_dimension(contexts, head_dim=128)
    assert fit.dimensions == pytest.approx(92)
    assert fit.pairs == pytest.approx(46)
    assert fit.largest_residual == pytest.approx(1)
    mean = math.exp(sum(map(math.log, bases)) / 3)
    assert fit.resolution == pytest.approx(mean ** (2 / 128))


def test_a_pair_more_is_the_resolution() -> None:
    fit = theory.fitted_critical_dimension({1e6: 5000.0}, head_dim=64)
    more = theory.fitted_critical_dimension({1e6: 5000.0 * fit.resolution}, head_dim=64)
    assert more.pairs - fit.pairs == pytest.approx(1)


def test_contexts_that_disagree_have_a_residual() -> None:
    exact = {base: 2 * math.pi * base**0.7 for base in (1e5, 1e6)}
    off = {
        base: context * factor
        for (base, context), factor in zip(exact.items(), (2, 0.5), strict=True)
    }
    fit = theory.fitted_critical_dimension(off, head_dim=64)
    values = [2 * math.pi * base ** (fit.dimensions / 64) for base in off]
    worst = max(abs(math.log(a / b)) for a, b in zip(values, off.values(), strict=True))
    assert fit.largest_residual == pytest.approx(math.exp(worst))
    assert fit.largest_residual > 1.5


@pytest.mark.parametrize("contexts", [{}, {1e6: 6.0}, {1e6: math.inf}, {1.0: 4096.0}])
def test_contexts_that_say_nothing_are_refused(contexts: dict[float, float]) -> None:
    with pytest.raises(SpecError):
        theory.fitted_critical_dimension(contexts, head_dim=64)


def test_another_base_divides_the_frequencies() -> None:
    old, new = (theory.periods(base, head_dim=64) for base in (1e4, 3e6))
    wanted = [b / a for a, b in zip(old, new, strict=True)]
    assert theory.slowdown(3e6, head_dim=64) == pytest.approx(wanted)


def disturbance(length: int, **given: object) -> float:
    return sum(theory.angle_disturbance(length, head_dim=128, train_length=4096, **given)) / 64  # type: ignore[arg-type]


@pytest.mark.parametrize(("times", "less"), [(2, 0.72), (4, 0.32)])
def test_the_disturbance_falls_by_what_is_published(times: int, less: float) -> None:
    length = 4096 * times
    own = theory.angle_disturbance(length, head_dim=128, train_length=4096)
    scaled = theory.angle_disturbance(length, head_dim=128, train_length=4096, scales=times)
    chosen = [1.0 if a < b else float(times) for a, b in zip(own, scaled, strict=True)]
    assert (
        round(1 - disturbance(length, scales=chosen) / disturbance(length, scales=times), 2) == less
    )


def test_the_angles_of_pre_training_are_not_disturbed() -> None:
    assert theory.angle_disturbance(4096, head_dim=64, train_length=4096) == (0.0,) * 32
    larger = theory.angle_disturbance(4096, head_dim=64, train_length=4096, rope_theta=1e6)
    assert larger[0] == 0 and larger[-1] > 0.1


@pytest.mark.parametrize("scales", [0.0, -1.0, math.inf, [1.0, 2.0]])
def test_scales_that_make_no_sense_are_refused(scales: object) -> None:
    with pytest.raises(SpecError, match="scales"):
        disturbance(8192, scales=scales)
