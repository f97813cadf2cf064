"""The paper's recipes, and what is changed of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rope_eval.errors import SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.presets import PAPER, tuning_recipe
from rope_eval.tuning.recipe import Recipe, tuning_name

LAB = Path(__file__).parents[2] / "model_configs" / "lab"


def test_the_papers_recipes_are_those_of_b1() -> None:
    shapes = {"": (4096, 128), "-16k": (16384, 32), "-pi": (8192, 64)}
    assert len(PAPER) == 6
    for size, norm in (("7b", 2.5), ("13b", 1.0)):
        for suffix, (length, batch) in shapes.items():
            recipe = PAPER[f"paper-{size}{suffix}"]
            assert (recipe.length, recipe.batch_size) == (length, batch)
            assert (recipe.steps, recipe.learning_rate, recipe.warmup_steps) == (1000, 2e-5, 0)
            assert (recipe.schedule, recipe.max_grad_norm) == ("constant", norm)
            assert (recipe.rope.linear_factor != 1.0) == (suffix == "-pi")


def test_a_recipe_reads_back() -> None:
    for recipe in PAPER.values():
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_given_wins_over_config_and_preset_at_its_default_too() -> None:
    model = str(LAB / "base-1e5")  # its config: base 1e5, 128 tokens
    plain = tuning_recipe("paper-7b-pi", model=model, fields={})
    assert (plain.rope.pretrain_theta, plain.rope.linear_factor) == (1e5, 2.0)
    given = {"pretrain_theta": "10000", "linear_factor": 1.0, "train_length": 64}
    asked = tuning_recipe("paper-7b-pi", model=model, fields=given)
    assert asked.rope == RopeSpec(train_length=64, tune_length=8192, pretrain_theta=10000)


def test_without_a_preset_the_length_is_the_models_own_and_a_step_as_many_tokens() -> None:
    recipe = tuning_recipe(None, model=str(LAB / "base-81-512"), fields={"rope_theta": 81})
    assert (recipe.length, recipe.batch_size) == (512, 128 * 4096 // 512)
    assert (recipe.name, recipe.start_from) == ("base-81-512", str(LAB / "base-81-512"))
    longest = tuning_recipe(None, fields={"tune_length": 1 << 20})
    assert longest.batch_size == 1


def test_numbers_that_are_given_are_used() -> None:
    recipe = tuning_recipe("paper-13b", fields={}, steps=7, batch_size=3, learning_rate=0.0, seed=5)
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate, recipe.seed) == (7, 3, 0.0, 5)
    assert recipe.max_grad_norm == PAPER["paper-13b"].max_grad_norm == 1.0


def test_an_unknown_preset_or_field_is_named() -> None:
    with pytest.raises(SpecError, match="Did you mean 'paper-7b'"):
        tuning_recipe("paper-8b", fields={})
    with pytest.raises(SpecError, match="Did you mean 'xpos'"):
        tuning_recipe(None, fields={"xpo": True})


def test_names_of_tuned_checkpoints() -> None:
    assert tuning_name(RopeSpec(rope_theta=83_000, tune_length=256)) == "base-83e3-256"
    assert tuning_name(RopeSpec(train_length=4096)) == "own-base-4096"
    assert tuning_name(RopeSpec(rope_theta=40.5, tune_length=256)) == "base-40.5-256"
