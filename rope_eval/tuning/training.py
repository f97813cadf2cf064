"""From a recipe and windows to a trained model, by transformers' Trainer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.arguments import on_this_machine, training_arguments
from rope_eval.tuning.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.utils.data import Dataset
    from transformers import PreTrainedModel, Trainer


def batch_of(windows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return a model's inputs and each one's next token, int64 [B, length], from windows.

    transformers' losses take ``shift_labels`` as they are, where ``labels`` lose the first: so a
    window's last input has a target too.
    """
    import torch

    tokens = torch.stack([torch.as_tensor(window["tokens"]) for window in windows])
    following = tokens[:, 1:].contiguous()
    return {"input_ids": tokens[:, :-1], "labels": following, "shift_labels": following}


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
        model: what to train, its config set by :func:`configure`; it is changed.
        windows: one a window, in the order of training; rows of ``tokens``, int64 [length + 1].
        recipe: what to do.
        folder: for the states to go on from.
        text: what the windows are from: states of other text are not gone on from.
        rope: what the config cannot say of the setting.
        on_step: called after each step with the number of steps done and its loss.
        arguments: more `transformers.TrainingArguments`, or other ones than the recipe's.

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
