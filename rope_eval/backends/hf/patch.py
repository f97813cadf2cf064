"""`patched(model, spec)`: apply a RopeSpec to a Hugging Face model, and take it off again."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
    PreTrainedModel,
)

from rope_eval.backends.hf.anatomy import Anatomy, geometry, without_adapter
from rope_eval.backends.hf.attention import (
    ATTRIBUTE,
    NAME,
    RopeAttention,
    attention_function,
    mask_function,
)
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec


@contextmanager
def patched(model: PreTrainedModel, spec: RopeSpec) -> Iterator[PreTrainedModel]:
    """Run a model under a RoPE setting.

    The model's rotary module becomes the identity, so its cache keeps unrotated keys, and our
    attention function rotates queries and keys itself: one mechanism for every combination, in one
    pass and in cached generation. On leaving, also by an exception, the model is as it was, bit for
    bit. A model that is patched already takes the inner spec alone, until the inner block ends.

    Args:
        model: a supported causal language model (`rope_eval.backends.hf.anatomy`).
        spec: the setting; the neutral one computes what the stock model does.

    Yields:
        The same model.

    Raises:
        UnsupportedModelError: for a model the mechanism does not fit.
        SpecError: where the setting needs a length that neither it nor the config gives.
    """
    attention = RopeAttention(Rotary(spec, geometry(model)))
    parts = Anatomy.of(model)
    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, mask_function)

    with ExitStack() as undo:
        configs: dict[int, PreTrainedConfig] = {}  # copies: another model may share the original
        inner = without_adapter(model)
        for module in (inner, inner.base_model, *parts.attentions):
            config = configs.setdefault(id(module.config), copy.copy(module.config))
            config._attn_implementation = NAME
            _override(undo, module, "config", config)
        rotary_dim = attention.rotary.geometry.rotary_dim
        _override(undo, parts.rotary, "forward", partial(_identity, rotary_dim))
        for module in (inner, *parts.attentions):
            _override(undo, module, ATTRIBUTE, attention)
        yield model


def _identity(rotary_dim: int, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos 1 and sin 0 in the shape of a rotary module's forward, ``[1, T, rotary_dim]``."""
    one = torch.ones(1, 1, 1, dtype=x.dtype, device=x.device)
    shape = (1, position_ids.shape[-1], rotary_dim)
    return one.expand(shape), torch.zeros_like(one).expand(shape)


def _override(undo: ExitStack, module: nn.Module, name: str, value: object) -> None:
    """Set an attribute on the instance, and have it restored."""
    before = vars(module).get(name, _ABSENT)

    def restore() -> None:
        if before is _ABSENT:
            delattr(module, name)
        else:
            setattr(module, name, before)

    undo.callback(restore)
    setattr(module, name, value)


_ABSENT = object()
