"""From a recipe and the training text to a checkpoint on disk."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.lab.model import build_model, load_weights, save_checkpoint

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM

    from rope_eval.lab.text import TrainingText


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one checkpoint is made; the defaults are those of tuning.

    Attributes:
        name: Name of the checkpoint and of its folder.
        rope_theta: Base it is trained with.
        start_from: Name of the checkpoint to tune, or None to train from random weights.
        steps: Optimiser steps, of ``batch_size`` windows each.
        learning_rate: Peak learning rate of AdamW.
        schedule: ``constant``, or ``cosine`` down to a tenth of the peak.
        warmup_steps: Steps over which the learning rate first rises linearly.
        batch_size: Windows a step.
        train_length: Tokens a window: no query ever sees a key further away.
        max_grad_norm: The gradient is scaled down to this norm when it is longer.
        seed: Seed of the first weights and of the windows' places.
    """

    name: str
    rope_theta: float
    start_from: str | None = "pretrained"
    steps: int = 300
    learning_rate: float = 5e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    batch_size: int = 32
    train_length: int = 128
    max_grad_norm: float = 1.0
    seed: int = 0

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * (0.55 + 0.45 * math.cos(math.pi * progress))


RECIPES = (
    Recipe(
        name="pretrained",
        rope_theta=10_000.0,
        start_from=None,
        steps=1600,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=100,
    ),
    Recipe(name="base-20", rope_theta=20.0),
    Recipe(name="base-1e4", rope_theta=10_000.0),
    Recipe(name="base-1e5", rope_theta=100_000.0),
    Recipe(name="base-1e6", rope_theta=1_000_000.0),
)
"""The lab's checkpoints, each after the one it starts from.

20 is under the smallest pivot base of 128 tokens, 128/2π = 20.4; 10000 is the control.
"""


def ignore_step(step: int, loss: float) -> None:
    """Do nothing with a step's number and loss."""


def train(
    recipe: Recipe,
    tokens: Tensor,
    *,
    start: dict[str, Tensor] | None = None,
    on_step: Callable[[int, float], None] = ignore_step,
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train on windows taken anywhere in the stream, with AdamW (0.9, 0.999; no weight decay).

    The same recipe, text, machine, versions and number of threads give the same weights.

    Args:
        recipe: What to do.
        tokens: int64 [T], the training stream.
        start: Weights to tune; None for the recipe's random ones.
        on_step: Called after each step with the number of steps done and its loss.

    Returns:
        The model in float32, and each step's loss in nats a token.
    """
    import torch
    import torch.nn.functional as F

    model = build_model(
        rope_theta=recipe.rope_theta, train_length=recipe.train_length, seed=recipe.seed
    )
    if start is not None:
        model.load_state_dict(start)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.999), weight_decay=0.0)
    generator = torch.Generator().manual_seed(recipe.seed)
    window = torch.arange(recipe.train_length + 1)
    losses: list[float] = []
    model.train()
    for step in range(recipe.steps):
        places = torch.randint(
            len(tokens) - recipe.train_length, (recipe.batch_size, 1), generator=generator
        )
        batch = tokens[places + window]  # [B, T + 1]: the inputs, and each one's next token
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        optimizer.step()
        losses.append(loss.item())
        on_step(step + 1, losses[-1])
    return model.eval(), losses


def make_checkpoint(
    recipe: Recipe,
    text: TrainingText,
    output: Path,
    *,
    on_step: Callable[[int, float], None] = ignore_step,
) -> dict[str, Any]:
    """Train a recipe's checkpoint and write it to ``output/<name>``, replacing what was there.

    Tuning starts from the weights *as stored* in ``output/<start_from>``: an older pre-trained
    checkpoint gives the same as one that was just made.

    Args:
        recipe: What to do.
        text: What to train on.
        output: Folder of the checkpoints.
        on_step: As for :func:`train`.

    Returns:
        The record that was written: recipe, start, text, results and versions.

    Raises:
        DataError: The checkpoint to start from is not there.
    """
    import tokenizers
    import torch
    import transformers

    start = None
    start_sha256 = None
    if recipe.start_from is not None:
        source = output / recipe.start_from
        start = load_weights(source)
        start_sha256 = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    began = time.monotonic()
    model, losses = train(recipe, text.tokens, start=start, on_step=on_step)
    last = losses[-50:]
    record: dict[str, Any] = {
        "recipe": asdict(recipe),
        "start_sha256": start_sha256,
        "optimizer": {"name": "AdamW", "betas": [0.9, 0.999], "weight_decay": 0.0},
        "text": {"files": text.files, "tokens": len(text.tokens), "sha256": text.sha256},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
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
    save_checkpoint(model, output / recipe.name, record)
    return record
