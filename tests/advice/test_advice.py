"""Advice against the laws that it is of, and its plan against the reader of plans."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rope_eval import theory
from rope_eval.advice.advice import advise, steady_base
from rope_eval.advice.plan_file import plan_text
from rope_eval.advice.words import paragraphs
from rope_eval.errors import SpecError
from rope_eval.plans.measurements.perplexity import Perplexity
from rope_eval.plans.plan import Plan
from rope_eval.rope.facts import Facts
from rope_eval.rope.geometry import RopeConfig
from rope_eval.rope.methods import METHODS, active
from rope_eval.rope.spec import RopeSpec

LLAMA2: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}
CODE_LLAMA = LLAMA2 | {"max_position_embeddings": 16384, "rope_theta": 1e6}
LLAMA3 = LLAMA2 | {"vocab_size": 128256, "max_position_embeddings": 8192, "rope_theta": 5e5}


def facts(config: dict[str, Any], **given: Any) -> Facts:
    return Facts(RopeSpec(**given), RopeConfig(config, "config.json").geometry)


def test_a_tuning_shorter_than_the_target_needs_the_larger_base() -> None:
    found = advise(facts(LLAMA2), 131072, 32768)
    assert (found.bound, found.first_negative) == (4096, 1707)
    assert found.extrapolating_base == theory.smallest_base_for(131072, train_length=4096)
    least = theory.base_lower_bound(131072, 128)
    assert found.feasible_base == least
    assert round(found.critical_base) == round(theory.critical_base(4096, 32768))
    tuning = found.tuning
    assert tuning.base == 4.3e7 and tuning.length == 32768
    assert tuning.base >= max(found.extrapolating_base, found.feasible_base)
    assert tuning.bound == pytest.approx(2 * math.pi * tuning.base ** (92 / 128))
    assert tuning.bound >= 131072 and tuning.first_negative is None
    assert found.small_tuning is not None
    assert found.small_tuning.base == 5200 < theory.pivot_bases(32768)[2]
    assert found.small_tuning.bound == 32768
    assert found.small_tuning.first_negative == theory.first_negative(5200, 131072, 128)


def test_of_two_laws_that_disagree_the_stricter_is_taken() -> None:
    retrieval = advise(facts(LLAMA2), 65536, 8192)
    assert retrieval.feasible_base > retrieval.extrapolating_base
    assert retrieval.tuning.base >= retrieval.feasible_base
    lab = LLAMA2 | {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 128}
    perplexity = advise(facts(lab | {"vocab_size": 99}), 1024)
    assert perplexity.extrapolating_base > perplexity.feasible_base
    assert perplexity.tuning.base >= perplexity.extrapolating_base
    assert perplexity.tuning.base < 1.1 * perplexity.extrapolating_base


def test_windows_as_long_as_the_target_ask_for_retrieval_alone() -> None:
    found = advise(facts(LLAMA2), 32768, 32768)
    assert found.small_tuning is None
    assert found.tuning.first_negative is None
    assert found.tuning.base < theory.smallest_base_for(40000, train_length=4096) * 100
    kept = advise(facts(LLAMA3), 16384, 16384)
    assert kept.pretrain_theta == 5e5
    assert kept.tuning.base == 5e5  # it is feasible for the target: why change it
    assert kept.tuning.bound == 16384  # Theorem 3: up to the critical base


def test_what_was_extended_is_advised_from_its_pre_training() -> None:
    found = advise(facts(CODE_LLAMA), 100_000)
    assert (found.train_length, found.tuned_at, found.pretrain_theta) == (4096, 16384, 1e4)
    assert round(found.bound) == 129027 and found.perplexity_holds
    assert found.first_negative == 27115 and not found.retrieval_holds
    assert found.tuning.length == 16384
    text = "\n".join(paragraphs(found, "MODEL"))
    assert "129027 tokens, which reaches 100000" in text and "B(m) < 0 from 27115" in text


def test_what_holds_needs_nothing() -> None:
    config = LLAMA2 | {"vocab_size": 99, "rope_theta": 1e8}
    given = facts(config, pretrain_theta=1e4, train_length=4096)
    found = advise(given, 8192)
    assert found.perplexity_holds and found.retrieval_holds and found.untuned == ()
    assert paragraphs(found, "M")[-1].startswith("Nothing is to be done")


@pytest.mark.parametrize("at_least", [8.4e4, 2e5, 1e6])
def test_a_steady_base_is_feasible_up_to_ten_times(at_least: float) -> None:
    base = steady_base(at_least, 8192, 128)
    assert base >= at_least
    grid = [base * 10 ** (k / 50) for k in range(50)]
    assert all(theory.base_is_feasible(one, 8192, 128) for one in grid)
    assert base == float(f"{base:.1e}")


@pytest.mark.parametrize("lengths", [(128, 1000), (4096, 131072), (2048, 4097), (8192, 1 << 20)])
def test_methods_without_tuning_are_their_own_settings(lengths: tuple[int, int]) -> None:
    known = [method for method in METHODS if method.untuned is not None]
    assert len(known) == 8
    for method in known:
        assert method.untuned is not None
        spec = RopeSpec.parse(method.untuned(*lengths))
        assert active(spec) == (method,)
        assert not spec.is_neutral


@pytest.mark.parametrize("lengths", [(128, 1000), (4096, 131072), (2048, 4097)])
def test_mapped_distances_stay_within_what_is_known(lengths: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    from rope_eval.rope.geometry import RotaryGeometry
    from rope_eval.rope.rotary import Rotary

    made_for, target = lengths
    geometry = RotaryGeometry(head_dim=64, rotary_dim=64, rope_theta=1e4, train_length=made_for)
    for method in METHODS:
        if method.untuned is None or not method.maps_positions:
            continue
        effect = Rotary(RopeSpec.parse(method.untuned(*lengths)), geometry).position_map
        assert effect is not None
        keys = torch.arange(0, target, 7)
        seen = effect.rel(torch.tensor([[target - 1]]), keys[None])
        assert 0 <= float(seen.min()) < float(seen.max()) <= made_for, method.name


def test_the_plan_is_one_that_is_read(tmp_path: Path) -> None:
    found = advise(facts(LLAMA2), 16384)
    file = tmp_path / "plan.yaml"
    given = {"train_length": 4096, "pretrain_theta": 1e4}
    file.write_text(plan_text(found, {"model": "some/model"}, given), encoding="utf-8")
    plan = Plan.read(file)
    assert len(plan.cells) == 2 * (1 + len(found.untuned))
    assert {cell.setting.rope.train_length for cell in plan.cells} == {4096}
    settings = {
        str(c.setting.rope.replace(train_length=None, pretrain_theta=None)) for c in plan.cells
    }
    assert settings == {"neutral", *(one.setting for one in found.untuned)}
    assert {
        cell.measurement.longest for cell in plan.cells if isinstance(cell.measurement, Perplexity)
    } == {16384}
    assert "builtin" in file.read_text() and "&" not in file.read_text()
    far = plan_text(advise(facts(LLAMA2), 131072), {"model": "m"}, {})
    assert "books: pg19" in far and "docs: 5" in far
    assert "books: mine" in plan_text(found, {"model": "m"}, {}, "mine")


@pytest.mark.parametrize(
    ("config", "target", "tune", "message"),
    [
        (LLAMA2, 4096, None, "trained at"),
        (CODE_LLAMA, 16384, None, "16384 tokens"),
        (LLAMA2, 8192, 2048, "--tune-length must be at least"),
        (LLAMA2 | {"rope_scaling": {"type": "linear", "factor": 2.0}}, 8192, None, "scales its"),
        (LLAMA2 | {"max_position_embeddings": 100_000}, 200_000, None, "every pair turns fully"),
        (LLAMA2 | {"max_position_embeddings": None}, 8192, None, "train_length"),
    ],
)
def test_what_the_laws_do_not_say_is_refused(
    config: dict[str, Any], target: int, tune: int | None, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        advise(facts(config), target, tune)
