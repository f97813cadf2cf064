"""From a recipe and windows to weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.little_training import TINY, train_little, windows_of
from rope_eval.theory import critical_dimension
from rope_eval.tuning.training import batch_of, train
from studies.scaling_laws.recipes.model import build_model


def test_a_batch_has_a_target_for_every_input() -> None:
    batch = batch_of([{"tokens": torch.arange(5)}, {"tokens": torch.arange(5, 10)}])
    assert batch["input_ids"].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert batch["shift_labels"].tolist() == [[1, 2, 3, 4], [6, 7, 8, 9]]


def test_a_step_is_adamw_on_the_mean_loss_with_the_gradient_clipped(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=1, max_grad_norm=0.5)
    model, losses = train_little(recipe, tmp_path)

    start = build_model(rope_theta=10_000.0, train_length=32, seed=0)
    windows = windows_of(recipe)
    rows = torch.stack([windows[i]["tokens"] for i in range(8)])
    logits = start(input_ids=rows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    assert losses == pytest.approx([loss.item()], abs=1e-3)
    torch.autograd.backward(loss)
    norm = math.sqrt(sum(p.grad.double().pow(2).sum() for p in start.parameters()))
    assert norm > 0.5
    for (name, parameter), trained in zip(
        start.named_parameters(), model.parameters(), strict=True
    ):
        gradient = parameter.grad * (0.5 / (norm + 1e-6))
        step = 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
        sure = gradient.abs() > 1e-7  # elsewhere the step is eps and rounding
        torch.testing.assert_close(
            trained[sure], (parameter - step)[sure], atol=2e-5, rtol=0, msg=name
        )


def test_learning_rates_are_the_recipes(tmp_path: Path) -> None:
    cosine = replace(TINY, steps=10, schedule="cosine", warmup_steps=2)
    for recipe, wanted in ((TINY, [1e-3] * 3), (cosine, [0.0, 5e-4, 1e-3, *[None] * 7])):
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        trainer = train(model, windows_of(recipe), recipe, tmp_path / recipe.schedule, text="")
        rates = [
            float(row["learning_rate"])
            for row in trainer.state.log_history
            if "learning_rate" in row
        ]
        assert len(rates) == recipe.steps
        for rate, want in zip(rates, wanted, strict=True):
            assert want is None or rate == pytest.approx(want, rel=1e-3)
    assert 1e-4 < rates[-1] < 1.5e-4  # the cosine ends at a tenth of the peak


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_alone(
    tmp_path: Path,
) -> None:
    state = torch.random.get_rng_state()
    model, losses = train_little(TINY, tmp_path / "a")
    again, losses_again = train_little(TINY, tmp_path / "b")
    other, _ = train_little(replace(TINY, seed=1), tmp_path / "c")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert losses == losses_again
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_training_learns_and_the_base_is_live(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=12, learning_rate=2e-3)
    _, losses = train_little(recipe, tmp_path / "a")
    rope = replace(recipe.rope, rope_theta=20.0)
    _, other = train_little(replace(recipe, rope=rope), tmp_path / "b")
    assert losses[0] == pytest.approx(math.log(257), abs=0.2)
    assert losses[-1] < losses[0] - 1.5
    assert losses != other


def test_an_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopTrainingError(Exception):
        pass

    def stop(step: int, _: float) -> None:
        if step == 5:
            raise StopTrainingError

    recipe = replace(TINY, steps=8, schedule="cosine", warmup_steps=2)
    whole, _ = train_little(recipe, tmp_path / "whole", save_steps=3)
    for text, first in (("same", 4), ("other", 1)):
        folder = tmp_path / text
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        with pytest.raises(StopTrainingError):
            train(
                model, windows_of(recipe), recipe, folder, text="same", on_step=stop, save_steps=3
            )
        model = build_model(rope_theta=1e4, train_length=32, seed=0)
        steps: list[int] = []
        train(
            model,
            windows_of(recipe),
            recipe,
            folder,
            text=text,
            on_step=lambda step, _: steps.append(step),  # noqa: B023
        )
        assert steps == list(range(first, 9))
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-6, rtol=0)


def test_dropped_dimensions_are_dropped_in_training(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=4, rope=replace(TINY.rope, beyond_critical="drop"))
    model, losses = train_little(recipe, tmp_path / "drop")
    _, kept = train_little(replace(recipe, rope=TINY.rope), tmp_path / "keep")
    assert losses != kept
    kept_pairs = critical_dimension(64, 32) // 2
    start = build_model(rope_theta=1e4, train_length=32, seed=0)
    for layer, before in zip(model.model.layers, start.model.layers, strict=True):
        for name in ("q_proj", "k_proj"):
            moved = (
                getattr(layer.self_attn, name).weight - getattr(before.self_attn, name).weight
            ).abs()
            by_dimension = moved.reshape(2, 64, -1).amax((0, 2))
            pairs = torch.maximum(by_dimension[:32], by_dimension[32:])
            assert (pairs[:kept_pairs] > 0).all()
            assert (pairs[kept_pairs:] == 0).all()  # no gradient reaches them
