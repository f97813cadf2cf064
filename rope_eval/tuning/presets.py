"""How arXiv 2310.05209, B.1 tunes LLaMA2, and your own tuning, made from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.recipe import Recipe, tuning_name


def _paper(name: str, *, length: int, batch_size: int, linear_factor: float = 1.0) -> Recipe:
    return Recipe(
        name=name,
        rope=RopeSpec(
            pretrain_theta=1e4,
            train_length=4096,
            tune_length=length,
            linear_factor=linear_factor,
        ),
        start_from="meta-llama/Llama-2-13b-hf" if "13b" in name else "meta-llama/Llama-2-7b-hf",
        steps=1000,
        batch_size=batch_size,
        learning_rate=2e-5,
        max_grad_norm=1.0 if "13b" in name else 2.5,
    )


PAPER = {
    f"paper-{size}{suffix}": _paper(f"paper-{size}{suffix}", **fields)
    for size in ("7b", "13b")
    for suffix, fields in (
        ("", {"length": 4096, "batch_size": 128}),
        ("-16k", {"length": 16384, "batch_size": 32}),
        ("-pi", {"length": 8192, "batch_size": 64, "linear_factor": 2.0}),
    )
}
"""How arXiv 2310.05209, B.1 tunes LLaMA2, by the name of the preset; the base is yours."""

DEFAULT = "paper-7b"


def tuning_recipe(
    preset: str | None,
    *,
    model: str | None = None,
    fields: Mapping[str, Any],
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
) -> Recipe:
    """Return a preset's recipe with what you change of it; None leaves it as it is.

    Args:
        preset: one of :data:`PAPER`; None is `DEFAULT` at the model's own length.
        model: what to tune, a directory or a name on the hub. Its config says what its
            pre-training had, T_train and the base.
        fields: of `RopeSpec`, which win over the config's and the preset's.
        steps: optimiser steps.
        batch_size: windows a step; by default as many tokens as a step of the preset has.
        learning_rate: of AdamW, constant.
        seed: of the windows' order.

    Raises:
        SpecError: there is no such preset, or a field makes no sense.
        DataError: there is no such model.
    """
    recipe = _find(preset or DEFAULT)
    settings = recipe.rope.to_dict()
    if model is not None:
        settings |= _as_pretrained(model)
        if preset is None:
            settings["tune_length"] = settings["train_length"]
    rope = RopeSpec.from_dict(settings | dict(fields))
    asked = {"steps": steps, "learning_rate": learning_rate, "seed": seed, "start_from": model}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    changed = replace(recipe, name=tuning_name(rope), rope=rope, **given)
    if batch_size is None:
        batch_size = max(1, recipe.batch_size * recipe.length // changed.length)
    return replace(changed, batch_size=batch_size)


def _find(preset: str) -> Recipe:
    if preset not in PAPER:
        raise SpecError(
            f"there is no preset {preset!r}; there are {', '.join(PAPER)}."
            f"{did_you_mean(preset, PAPER)}"
        )
    return PAPER[preset]


def _as_pretrained(model: str) -> dict[str, Any]:
    """Return what is known of a model's pre-training: what the laws and the tuning need."""
    from rope_eval.backends.checkpoint import check_checkpoint

    check_checkpoint(model)

    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import load_config

    laws = rope_config(load_config(model)).laws
    theta = laws.pretrain_theta.value
    return {
        "train_length": laws.require("train_length", f"tuning {model}"),
        **({} if theta is None else {"pretrain_theta": theta}),
    }
