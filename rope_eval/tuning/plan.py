"""What a tuning would do, as YAML that transformers and accelerate take as it is."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import yaml

from rope_eval.rope.spec import FIELDS
from rope_eval.tuning.arguments import training_arguments
from rope_eval.tuning.recipe import Recipe

PAPER_DEVICES = 32
"""A100s, in arXiv 2310.05209, B.1."""


def tuning_plan(preset: str, recipe: Recipe, source: str | None, *, accumulation: int) -> str:
    """Return B.1's tuning on the paper's 32 devices, or fewer: what it does, and how to launch it.

    ``training_arguments`` are those of `transformers.TrainingArguments`, and ``accelerate`` is the
    file that ``accelerate launch --config_file`` reads.
    """
    devices = max(
        n
        for n in range(1, PAPER_DEVICES + 1)
        if not recipe.batch_size % (n * accumulation) or n == 1
    )
    given = training_arguments(
        recipe,
        devices=devices,
        accumulation=accumulation,
        bf16=True,
        gradient_checkpointing=True,
    )
    plan = {
        "source": "arXiv 2310.05209, Appendix B.1",
        "model": recipe.start_from,
        "rope": recipe.rope.to_dict(),
        "text": source or "the Pile in the paper: give --text",
        "tokens_per_window": recipe.length,
        "windows_per_step": recipe.batch_size,
        "tokens": recipe.tokens,
        "training_arguments": given,
        "accelerate": _accelerate(devices),
        "launch": shlex.join(
            [
                *("accelerate", "launch", "--config_file", "FILE_WITH_THE_ACCELERATE_PART"),
                *("-m", "rope_eval", "tune", "--preset", preset),
                *_options(recipe),
                *("--text", source or "SRC", "--accumulation", str(accumulation)),
                "--gradient-checkpointing",
            ]
        ),
    }
    return as_yaml(plan)


_FROM_ELSEWHERE = ("linear_factor", "pretrain_theta")
"""Fields that a preset or a config may give: they are said at their defaults too."""


def _options(recipe: Recipe) -> list[str]:
    """Return the options that make this recipe, whatever the preset says."""
    rope = asdict(recipe.rope)
    unlike = recipe.rope.replace(rope_theta=None, tune_length=None).to_dict()
    said = {name: rope[name] for name in FIELDS if name in unlike or name in _FROM_ELSEWHERE}
    options = {
        "--model": recipe.start_from,
        "--rope-theta": recipe.rope.rope_theta,
        "--tune-length": recipe.length,
        "--rope": ",".join(f"{name}={value}" for name, value in said.items()),
        "--steps": recipe.steps,
        "--batch-size": recipe.batch_size,
        "--learning-rate": recipe.learning_rate,
        "--seed": recipe.seed,
    }
    return [str(word) for pair in options.items() if pair[1] is not None for word in pair]


def _accelerate(devices: int) -> dict[str, Any]:
    """Return accelerate's configuration for ZeRO 3 over machines of eight devices."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "DEEPSPEED",
        "deepspeed_config": {
            "deepspeed_multinode_launcher": "standard",  # the command is started on each machine
            "zero_stage": 3,
            "zero3_init_flag": True,
            "zero3_save_16bit_model": True,
            "offload_optimizer_device": "none",
            "offload_param_device": "none",
        },
        "mixed_precision": "bf16",
        "num_machines": -(-devices // 8),
        "num_processes": devices,
        "main_process_ip": "ADDRESS_OF_MACHINE_0",
        "main_process_port": 29500,
        "machine_rank": 0,
        "rdzv_backend": "static",
        "use_cpu": False,
        "debug": False,
    }


def as_yaml(plan: dict[str, Any]) -> str:
    """Return a plan as YAML, in its own order."""
    return yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=100)
