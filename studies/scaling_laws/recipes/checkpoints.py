"""The lab's checkpoints: made from a recipe and the training text, and read back."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError
from rope_eval.tuning.checkpoint import record_of
from rope_eval.tuning.config import configure
from rope_eval.tuning.recipe import Recipe
from rope_eval.tuning.training import ignore_step, train
from studies.scaling_laws.recipes.grids import PRETRAIN_THETA, Grid
from studies.scaling_laws.recipes.model import build_model, load_weights, save_checkpoint
from studies.scaling_laws.recipes.text import TrainingText


def make_checkpoint(
    recipe: Recipe,
    grid: Grid,
    text: TrainingText,
    output: Path,
    *,
    on_step: Callable[[int, float], None] = ignore_step,
) -> dict[str, Any]:
    """Train a recipe's checkpoint and write it to ``output/<name>``, replacing what was there.

    Tuning starts from the weights *as stored* in ``output/<start_from>``: an older pre-trained
    checkpoint gives the same as one that was just made.

    Args:
        recipe: what to do.
        grid: whose model it is.
        text: what to train on.
        output: folder of the checkpoints.
        on_step: as for `rope_eval.tuning.training.train`.

    Returns:
        The record that was written: recipe, start, text, results and versions.

    Raises:
        DataError: the checkpoint to start from is not there.
    """
    from studies.scaling_laws.recipes.windows import LabWindows

    began = time.monotonic()
    assert recipe.rope.rope_theta is not None, "the lab's recipes say their base"
    model = build_model(
        rope_theta=recipe.rope.rope_theta,
        train_length=recipe.length,
        seed=recipe.seed,
        hidden_size=grid.hidden_size,
        layers=grid.layers,
    )
    start_sha256 = None
    if recipe.start_from is not None:
        source = output / recipe.start_from
        model.load_state_dict(load_weights(source))
        start_sha256 = _weights_sha256(source)
    rope = configure(model.config, recipe.rope.replace(pretrain_theta=PRETRAIN_THETA))
    windows = LabWindows(
        text.tokens,
        length=recipe.length,
        count=recipe.steps * recipe.batch_size,
        seed=recipe.seed,
    )
    states = output / f".{recipe.name}.training"
    trainer = train(model, windows, recipe, states, text=text.sha256, rope=rope, on_step=on_step)
    record = record_of(
        recipe,
        trainer,
        began,
        start_sha256=start_sha256,
        text={"files": text.files, "tokens": len(text.tokens), "sha256": text.sha256},
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    save_checkpoint(model, output / recipe.name, record)
    shutil.rmtree(states)
    return record


def starts_from(directory: Path, start: Path) -> bool:
    """Return whether a checkpoint was tuned from the weights that another folder has now."""
    record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
    return bool(record.get("start_sha256") == _weights_sha256(start))


def _weights_sha256(directory: Path) -> str:
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def recipe_of(directory: Path) -> Recipe:
    """Return the recipe that a checkpoint was made by.

    Raises:
        DataError: the folder has no record, or one that is none of ours.
    """
    file = directory / "record.json"
    try:
        return Recipe.from_dict(json.loads(file.read_text(encoding="utf-8"))["recipe"])
    except OSError as error:
        raise DataError(
            f"{directory} is no checkpoint of the lab: {error.strerror}: {file}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no record of the lab: {error}") from error
