"""From a recipe and windows to a trained model, by transformers' Trainer."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.recipes import Recipe, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.utils.data import Dataset
    from transformers import PreTrainedConfig, PreTrainedModel, Trainer, TrainerState

BETAS = (0.9, 0.999)
STATE_EVERY = 500
"""Steps between the states from which an interrupted training goes on."""

LAST_LOSSES = 50
"""Steps over which the loss that a record gives is taken."""


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
        recipe: What to do.
        devices: Processes that share a step.
        accumulation: Forward passes of each of them a step.
        bf16: Compute in bfloat16, on weights in float32.
        gradient_checkpointing: Compute activations again instead of keeping them.

    Raises:
        SpecError: The batch does not divide by the devices and passes.
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


def configure(config: PreTrainedConfig, spec: RopeSpec) -> RopeSpec | None:
    """Write into a config what it can say of a setting: the base, interpolation and the length.

    Args:
        config: Of the model to train; it is changed.
        spec: What to train under.

    Returns:
        The spec to train under, inside `patched`, where the config cannot say all of it, else None.

    Raises:
        SpecError: The config has scaled frequencies of its own, and the spec asks for others.
        UnsupportedModelError: The model has no rotary embedding, or several.
    """
    parameters = dict(getattr(config, "rope_parameters", None) or {})
    if "rope_theta" not in parameters:
        raise UnsupportedModelError(
            f"a model of type {config.model_type} has no single rotary base in its config "
            f"(rope_parameters: {parameters or 'none'}), so there is none to tune it with"
        )
    if spec.rope_theta is not None:
        parameters["rope_theta"] = spec.rope_theta
    if spec.linear_factor != 1.0:
        if parameters.get("rope_type", "default") != "default":
            raise SpecError(
                f"linear_factor={spec.linear_factor:g} for a model whose config has rope_type "
                f"{parameters['rope_type']}: start from one with default frequencies"
            )
        parameters |= {"rope_type": "linear", "factor": spec.linear_factor}
    config.rope_parameters = parameters
    length = spec.tune_length or spec.train_length or 0
    config.max_position_embeddings = max(length, config.max_position_embeddings)
    said = spec.replace(rope_theta=None, linear_factor=1.0)
    return None if said.is_neutral else said


def batch_of(windows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return a model's inputs and each one's next token, int64 [B, length], from windows.

    transformers' losses take ``shift_labels`` as they are, where ``labels`` lose the first: so a
    window's last input has a target too.
    """
    import torch

    tokens = torch.stack([torch.as_tensor(window["tokens"]) for window in windows])
    following = tokens[:, 1:].contiguous()
    return {"input_ids": tokens[:, :-1], "labels": following, "shift_labels": following}


def on_this_machine() -> dict[str, Any]:
    """Return the arguments that say what there is to train on; a launcher's CPUs meet by them."""
    import torch

    return {"use_cpu": not torch.accelerator.is_available()}


def ignore_step(step: int, loss: float) -> None:
    """Do nothing with a step's number and loss."""


def train(
    model: PreTrainedModel,
    windows: Dataset[dict[str, Tensor]],
    recipe: Recipe,
    folder: Path,
    *,
    text: str,
    rope: RopeSpec | None = None,
    on_step: Callable[[int, float], None] = ignore_step,
    **arguments: Any,
) -> Trainer:
    """Train a model on windows, with AdamW (0.9, 0.999; no weight decay).

    What was interrupted goes on from the last state in ``folder``. The same recipe, windows,
    machine, versions and number of threads give the same weights; the global seed of PyTorch is
    left as it was.

    Args:
        model: What to train, its config set by :func:`configure`; it is changed.
        windows: One a window, in the order of training; rows of ``tokens``, int64 [length + 1].
        recipe: What to do.
        folder: For the states to go on from.
        text: What the windows are from: states of other text are not gone on from.
        rope: What the config cannot say of the setting.
        on_step: Called after each step with the number of steps done and its loss.
        arguments: More `transformers.TrainingArguments`, or other ones than the recipe's.

    Returns:
        The trainer, which knows the losses and, under a launcher, the parts of the model.
    """
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    from rope_eval.backends.hf.patch import patched

    class Report(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            entry = state.log_history[-1]
            if "loss" in entry:
                on_step(state.global_step, float(entry["loss"]))

    asked = json.dumps({"recipe": recipe.to_dict(), "text": text})
    use_cache = model.config.use_cache
    given = training_arguments(recipe) | on_this_machine() | arguments
    with torch.random.fork_rng(devices=[]), patched(model, rope) if rope else nullcontext():
        trainer = Trainer(
            model=model,
            args=TrainingArguments(output_dir=str(folder), **given),
            train_dataset=windows,
            data_collator=batch_of,
            callbacks=[Report()],
        )
        trainer.remove_callback(PrinterCallback)  # the progress bar shows what it would print
        with quiet():
            trainer.train(resume_from_checkpoint=_last_state(folder, asked, get_last_checkpoint))
    model.config.use_cache = use_cache  # Trainer turns it off, and so it would be saved
    model.eval()
    return trainer


def _losses(state: TrainerState) -> list[float]:
    return [float(entry["loss"]) for entry in state.log_history if "loss" in entry]


def _last_state(folder: Path, asked: str, find: Callable[[str], str | None]) -> str | None:
    """Return where to go on from; states of something else are deleted first."""
    note = folder / "asked.json"
    if note.is_file() and note.read_text(encoding="utf-8") == asked:
        return find(str(folder))
    if int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(asked, encoding="utf-8")
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Show none of transformers' and datasets' own bars: one bar is enough."""
    import datasets
    from transformers.utils import logging

    bars = (
        (
            logging.is_progress_bar_enabled,
            logging.disable_progress_bar,
            logging.enable_progress_bar,
        ),
        (
            datasets.is_progress_bar_enabled,
            datasets.disable_progress_bars,
            datasets.enable_progress_bars,
        ),
    )
    shown = [enable for is_enabled, _, enable in bars if is_enabled()]
    for _, disable, _ in bars:
        disable()
    try:
        yield
    finally:
        for enable in shown:
            enable()


def record_of(recipe: Recipe, trainer: Trainer, began: float, **facts: Any) -> dict[str, Any]:
    """Return what is written beside a checkpoint: how it came about.

    Args:
        recipe: What was done.
        trainer: What did it.
        began: ``time.monotonic()`` when it began.
        facts: More to tell.
    """
    import tokenizers
    import torch
    import transformers

    last = _losses(trainer.state)[-LAST_LOSSES:]
    return {
        "recipe": recipe.to_dict(),
        **facts,
        "optimizer": {"name": "AdamW", "betas": list(BETAS), "weight_decay": 0.0},
        "final_loss": {"nats": round(sum(last) / len(last), 4), "steps": len(last)},
        "seconds": round(time.monotonic() - began, 1),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
