"""A training that takes a second: its recipe, its text and its windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.config import configure
from rope_eval.tuning.recipe import Recipe
from rope_eval.tuning.training import train
from studies.scaling_laws.recipes.model import BOUNDARY_ID, build_model
from studies.scaling_laws.recipes.text import TrainingText
from studies.scaling_laws.recipes.windows import LabWindows

TINY = Recipe(
    name="tiny",
    rope=RopeSpec(rope_theta=10_000.0, train_length=32),
    start_from=None,
    steps=3,
    batch_size=8,
    learning_rate=1e-3,
)


def little_text(content: bytes = b"import os\nprint(os.name)\n" * 40) -> TrainingText:
    tokens = torch.tensor([BOUNDARY_ID, *content])
    return TrainingText(tokens=tokens, files=1, held_out=(), sha256="0" * 64)


def windows_of(recipe: Recipe) -> LabWindows:
    count = recipe.steps * recipe.batch_size
    return LabWindows(little_text().tokens, length=recipe.length, count=count, seed=recipe.seed)


def train_little(recipe: Recipe, folder: Path, **more: Any) -> tuple[Any, list[float]]:
    """Return a model trained by a recipe, and the loss of each step."""
    model = build_model(
        rope_theta=recipe.rope.rope_theta or 1e4, train_length=recipe.length, seed=recipe.seed
    )
    rope = configure(model.config, recipe.rope)
    losses: list[float] = []
    train(
        model,
        windows_of(recipe),
        recipe,
        folder,
        text="",
        rope=rope,
        on_step=lambda _, loss: losses.append(loss),
        **more,
    )
    return model, losses
