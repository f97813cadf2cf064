"""A recipe in the words of `transformers.TrainingArguments`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.tuning.recipe import Recipe, Schedule

BETAS = (0.9, 0.999)
STATE_EVERY = 500
"""Steps between the states from which an interrupted training goes on."""


def training_arguments(
    recipe: Recipe,
    *,
    devices: int = 1,
    accumulation: int = 1,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
) -> dict[str, Any]:
    """Return a recipe as arguments of `transformers.TrainingArguments`, without its folder.

    Args:
        recipe: what to do.
        devices: processes that share a step.
        accumulation: forward passes of each of them a step.
        bf16: compute in bfloat16, on weights in float32.
        gradient_checkpointing: compute activations again instead of keeping them.

    Raises:
        SpecError: the batch does not divide by the devices and passes.
    """
    each, left = divmod(recipe.batch_size, devices * accumulation)
    if left or not each:
        raise SpecError(
            f"a batch of {recipe.batch_size} windows does not divide by {devices} device(s) and "
            f"{accumulation} pass(es) a step: choose others, or another --batch-size"
        )
    schedules: dict[Schedule, dict[str, Any]] = {
        "constant": {"lr_scheduler_type": "constant_with_warmup"},
        "cosine": {
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        },
    }
    return schedules[recipe.schedule] | {
        "max_steps": recipe.steps,
        "per_device_train_batch_size": each,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": recipe.learning_rate,
        "warmup_steps": recipe.warmup_steps,
        "max_grad_norm": recipe.max_grad_norm,
        "weight_decay": 0.0,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "optim": "adamw_torch",
        "seed": recipe.seed,
        "train_sampling_strategy": "sequential",  # the windows are in their order already
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_steps": STATE_EVERY,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        "bf16": bf16,
        **({_checkpointing_name(): True} if gradient_checkpointing else {}),
    }


def _checkpointing_name() -> str:
    """Return the argument's name: transformers is renaming it."""
    from transformers import TrainingArguments

    names = {field.name for field in fields(TrainingArguments)}
    new = "activation_checkpointing"
    return new if new in names else "gradient_checkpointing"


def on_this_machine() -> dict[str, Any]:
    """Return the arguments that say what there is to train on; a launcher's CPUs meet by them."""
    import torch

    return {"use_cpu": not torch.accelerator.is_available()}
