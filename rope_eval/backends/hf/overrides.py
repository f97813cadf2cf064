"""What is set on the modules of a model for a while, and put back."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_eval.backends.hf.compat import at_hand

ATTRIBUTE = "_rope_eval"  # where a patched model holds its RopeAttention, a layer its own
_ABSENT = object()


def override(undo: ExitStack, module: nn.Module, name: str, value: object) -> None:
    """Set an attribute on the instance, and have it restored when `undo` is closed."""
    before = vars(module).get(name, _ABSENT)

    def restore() -> None:
        if before is _ABSENT:
            delattr(module, name)
        else:
            setattr(module, name, before)

    undo.callback(restore)
    setattr(module, name, value)


def attend_by(undo: ExitStack, model: nn.Module, implementation: str) -> None:
    """Have every module of a model attend, and make its masks, by a registered implementation.

    Their configs are copied, as another model may share them.
    """
    configs: dict[int, PreTrainedConfig] = {}
    for module in model.modules():
        config = vars(module).get("config")
        if isinstance(config, PreTrainedConfig):
            if id(config) not in configs:
                configs[id(config)] = copy.deepcopy(config)  # setting it sets those within
                configs[id(config)]._attn_implementation = implementation
            override(undo, module, "config", configs[id(config)])


def unweighted(undo: ExitStack, norm: nn.Module) -> None:
    """Have a normalisation return what it does without its weights, which it keeps."""

    def normed(x: Tensor) -> Tensor:
        with at_hand(norm), _ones(norm):
            out: Tensor = type(norm).forward(norm, x)
        return out

    override(undo, norm, "forward", normed)


def weights_of(norm: nn.Module) -> Tensor:
    """Return what a normalisation multiplies by, ``[H]``, be it its weights or 1 more."""
    forward = type(norm).forward
    with at_hand(norm):
        with _ones(norm) as ones:
            plain = forward(norm, ones)
        weights: Tensor = forward(norm, ones) / plain
    return weights


@contextmanager
def _ones(norm: nn.Module) -> Iterator[Tensor]:
    """Have ones in place of a normalisation's weights for a while; give them: ``[H]``."""
    before = norm._parameters["weight"]
    assert before is not None
    ones = torch.ones_like(before)
    norm._parameters["weight"] = nn.Parameter(ones, requires_grad=False)
    try:
        yield ones
    finally:
        norm._parameters["weight"] = before


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in evaluation mode for a while."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
