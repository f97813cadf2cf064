"""What is set on the modules of a model for a while, and put back."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

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
                configs[id(config)] = copy.copy(config)
                configs[id(config)]._attn_implementation = implementation
            override(undo, module, "config", configs[id(config)])


def unweighted(undo: ExitStack, norm: nn.Module) -> Tensor:
    """Take the weights off a normalisation, and return them: ``[H]``."""
    before = norm._parameters["weight"]
    assert before is not None
    ones = torch.ones_like(before)
    weighted = norm(ones)
    undo.callback(norm._parameters.__setitem__, "weight", before)
    norm._parameters["weight"] = nn.Parameter(ones, requires_grad=False)
    weights: Tensor = weighted / norm(ones)
    return weights.detach()


def gain(undo: ExitStack, norms: Sequence[nn.Module]) -> Tensor | None:
    """Take the weights off the norms of queries and keys, and return their product: ``[H]``."""
    weights = [unweighted(undo, norm) for norm in norms]
    return weights[0] * weights[1] if weights else None


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
