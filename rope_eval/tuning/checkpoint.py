"""How a checkpoint is written: whole or not at all, with the record of how it came about."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import StoreError
from rope_eval.tuning.arguments import BETAS
from rope_eval.tuning.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer

LAST_LOSSES = 50
"""Steps over which the loss that a record gives is taken."""


def make_folder(folder: Path) -> None:
    """Make a folder for checkpoints, with those above it.

    Raises:
        StoreError: where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def unlike(directory: Path, recipe: Recipe, source: str) -> str:
    """Return how a checkpoint that is there differs from what a recipe makes; empty if it does not.

    Args:
        directory: of the checkpoint.
        recipe: what is asked for.
        source: its text.
    """
    try:
        record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
        made = dict(record["recipe"])
        read = record["text"]["source"]
    except (OSError, ValueError, LookupError, TypeError):
        return "it has no record.json of a tuning"
    asked: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
    parts = {name: (made.get(name), value) for name, value in asked.items()}
    parts["text"] = (read, source)
    other = [f"{name} {old}, not {new}" for name, (old, new) in parts.items() if old != new]
    return f"was made with {'; '.join(other)}" if other else ""


@contextmanager
def checkpoint_folder(directory: Path, record: dict[str, Any]) -> Iterator[Path]:
    """Give a folder to write a checkpoint to, which takes its place whole or not at all.

    Args:
        directory: what it becomes in the end, with ``record.json``; what was there is replaced.
        record: how the checkpoint was made.
    """
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    (partial / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if directory.exists():
        shutil.rmtree(directory)
    partial.rename(directory)


def record_of(recipe: Recipe, trainer: Trainer, began: float, **facts: Any) -> dict[str, Any]:
    """Return what is written beside a checkpoint: how it came about.

    Args:
        recipe: what was done.
        trainer: what did it.
        began: ``time.monotonic()`` when it began.
        facts: more to tell.
    """
    import tokenizers
    import torch
    import transformers

    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-LAST_LOSSES:]
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


def save_tuned(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    dtype: Any,
    directory: Path,
    record: dict[str, Any],
) -> None:
    """Write a checkpoint as transformers reads it, from all processes' parts of it.

    Args:
        trainer: what has trained it.
        tokenizer: the model's.
        dtype: of the weights on the disk.
        directory: what was there before is replaced.
        record: how it came about: the contents of ``record.json``.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    model.config.dtype = dtype
    with checkpoint_folder(directory, record) as folder:
        model.save_pretrained(
            folder, state_dict={name: tensor.to(dtype) for name, tensor in weights.items()}
        )
        tokenizer.save_pretrained(folder)
