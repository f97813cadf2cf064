"""Tune any Hugging Face model under another RoPE setting, as the lab's own are tuned."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, LengthError
from rope_eval.tuning.folders import checkpoint_folder
from rope_eval.tuning.recipes import Recipe
from rope_eval.tuning.training import (
    configure,
    ignore_step,
    on_this_machine,
    quiet,
    record_of,
    train,
    training_arguments,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer


def tune(
    recipe: Recipe,
    source: str,
    output: Path,
    *,
    accumulation: int = 1,
    gradient_checkpointing: bool = False,
    on_step: Callable[[int, float], None] = ignore_step,
) -> dict[str, Any]:
    """Tune the checkpoint ``recipe.start_from`` and write the result to ``output/<name>``.

    On CUDA the computation is in bfloat16 and the trained weights in float32, as in mixed
    precision; they are written in the dtype that they were read in. Under ``accelerate launch``
    every process calls this.

    Args:
        recipe: What to do.
        source: Text, a source of `rope_eval.data.books`; of the Pile all parts.
        output: Folder of the checkpoints.
        accumulation: Forward passes a step of each device.
        gradient_checkpointing: Compute activations again instead of keeping them.
        on_step: As for `rope_eval.tuning.training.train`.

    Returns:
        The record that was written.

    Raises:
        DataError: The model or the text cannot be read.
        LengthError: The text is shorter than one window.
        SpecError: The batch does not divide by devices and passes, or the model's config does not
            fit the setting.
    """
    import torch
    from transformers import AutoModelForCausalLM, TrainingArguments

    from rope_eval.backends.hf.loading import check_checkpoint, load_config, load_tokenizer

    began = time.monotonic()
    assert recipe.start_from is not None, "tuning starts from a checkpoint"
    check_checkpoint(recipe.start_from)
    states = output / f".{recipe.name}.training"
    given = training_arguments(
        recipe,
        devices=int(os.environ.get("WORLD_SIZE", "1")),
        accumulation=accumulation,
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=gradient_checkpointing,
    )
    given |= on_this_machine()
    # before the model: it tells transformers how a launcher wants the weights parted
    arguments = TrainingArguments(output_dir=str(states), **given)
    tokenizer = load_tokenizer(recipe.start_from)
    config = load_config(recipe.start_from)
    dtype = config.dtype or torch.float32
    rope = configure(config, recipe.rope)
    with arguments.main_process_first(desc="text"), quiet():
        windows = packed_windows(recipe, source, tokenizer, output / f".{recipe.name}.text")
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                recipe.start_from, config=config, dtype=torch.float32, use_safetensors=True
            )
    except (OSError, ValueError) as error:
        raise DataError(f"the model {recipe.start_from} cannot be loaded: {error}") from error
    trainer = train(
        model, windows, recipe, states, text=identity(source), rope=rope, on_step=on_step, **given
    )
    record = record_of(
        recipe,
        trainer,
        began,
        text={"source": source, "windows": len(windows)},
        parameters=model.num_parameters(),
        devices=arguments.world_size,
    )
    with quiet():
        _save(trainer, tokenizer, dtype, output / recipe.name, record)
    if arguments.process_index == 0:
        shutil.rmtree(states)
        shutil.rmtree(output / f".{recipe.name}.text")
    return record


def packed_windows(
    recipe: Recipe, source: str, tokenizer: PreTrainedTokenizerBase, cache: Path
) -> Dataset:
    """Return windows of the documents' tokens, one document after another, shuffled by the seed.

    They are on the disk, not in memory. Where the text has fewer than the recipe asks for, they
    are gone through again.

    Args:
        recipe: Whose windows.
        source: Text.
        tokenizer: The model's; its BOS stands before each document.
        cache: Folder for them.

    Returns:
        Rows of ``tokens``: ids, one more than the recipe's length.

    Raises:
        LengthError: The text is shorter than one window.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    from rope_eval.backends.hf.loading import encode
    from rope_eval.data.books import read_books

    size = recipe.length + 1
    wanted = recipe.steps * recipe.batch_size

    def windows() -> Iterator[dict[str, list[int]]]:
        pending: list[int] = []
        made = 0
        for document in read_books(source, whole_pile=True):
            pending += encode(tokenizer, document.text).tolist()
            while len(pending) >= size:
                yield {"tokens": pending[:size]}
                made += 1
                del pending[:size]
                if made == wanted:
                    return
        if not made:
            raise LengthError(
                f"{source} has {len(pending)} tokens, too few for one window of {size}: give "
                "more text, or a shorter --tune-length"
            )

    try:
        rows = Dataset.from_generator(
            windows,
            features=Features({"tokens": List(Value("int32"))}),
            cache_dir=str(cache),
            fingerprint=hashlib.sha256(f"{recipe} {identity(source)}".encode()).hexdigest(),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None
    return rows.shuffle(seed=recipe.seed)


def identity(source: str) -> str:
    """Return what tells a text from another: its name, and the files' sizes and times."""
    path = Path(source)
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path] if path.is_file() else []
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{source} {facts}"


def _save(
    trainer: Trainer,
    tokenizer: PreTrainedTokenizerBase,
    dtype: Any,
    directory: Path,
    record: dict[str, Any],
) -> None:
    """Write a checkpoint as transformers reads it, from all processes' parts of it."""
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
