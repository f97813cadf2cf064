"""Tune any Hugging Face model under another RoPE setting."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rope_eval.tuning.arguments import on_this_machine, training_arguments
from rope_eval.tuning.checkpoint import record_of, save_tuned
from rope_eval.tuning.config import configure, record_laws
from rope_eval.tuning.recipe import Recipe
from rope_eval.tuning.text import packed_windows, text_identity
from rope_eval.tuning.training import ignore_step, quiet, train


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
        recipe: what to do.
        source: text, a source of `rope_eval.data.books`; of the Pile all parts.
        output: folder of the checkpoints.
        accumulation: forward passes a step of each device.
        gradient_checkpointing: compute activations again instead of keeping them.
        on_step: as for `rope_eval.tuning.training.train`.

    Returns:
        The record that was written.

    Raises:
        DataError: the model or the text cannot be read.
        LengthError: the text is shorter than one window.
        SpecError: the batch does not divide by devices and passes, or the model's config does not
            fit the setting.
    """
    import torch
    from transformers import TrainingArguments

    from rope_eval.backends.checkpoint import check_checkpoint
    from rope_eval.backends.gguf import location
    from rope_eval.backends.hf.loading import WholeCausalLM, load_config, load_tokenizer

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
    record_laws(config, recipe)
    with arguments.main_process_first(desc="text"), quiet():
        windows = packed_windows(recipe, source, tokenizer, output / f".{recipe.name}.text")
    model = WholeCausalLM.from_pretrained(
        **location(recipe.start_from), config=config, dtype=torch.float32, use_safetensors=True
    )
    trainer = train(
        model,
        windows,
        recipe,
        states,
        text=text_identity(source),
        rope=rope,
        on_step=on_step,
        **given,
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
        save_tuned(trainer, tokenizer, dtype, output / recipe.name, record)
    if arguments.process_index == 0:
        shutil.rmtree(states)
        shutil.rmtree(output / f".{recipe.name}.text")
    return record
