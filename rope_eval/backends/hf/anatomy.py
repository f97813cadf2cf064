"""Where the parts of a supported model are, and its own rotary embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from rope_eval.backends.config import FINAL_NORM, check_supported, geometry_of
from rope_eval.rope.geometry import RotaryGeometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """The parts of a causal language model that scoring and patching touch."""

    embed: nn.Module
    rotary: nn.Module
    layers: nn.ModuleList
    attentions: list[nn.Module]
    norm: nn.Module
    head: nn.Module

    @classmethod
    def of(cls, model: PreTrainedModel) -> Anatomy:
        """Find the parts of a supported model; another one is an `UnsupportedModelError`."""
        check_supported(model.config)
        model = without_adapter(model)
        base = model.base_model
        return cls(
            embed=base.get_input_embeddings(),
            rotary=base.rotary_emb,
            layers=base.layers,
            attentions=[layer.self_attn for layer in base.layers],
            norm=getattr(base, FINAL_NORM[model.config.model_type]),
            head=model.get_output_embeddings(),
        )


def without_adapter(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model that a PEFT adapter is wrapped around, the adapter's layers in it."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner


def geometry(model: PreTrainedModel) -> RotaryGeometry:
    """Read a supported model's own rotary embedding."""
    parts = Anatomy.of(model)
    rotary: Any = parts.rotary
    attention: Any = parts.attentions[0]
    return geometry_of(
        model.config, attention.head_dim, rotary.inv_freq.detach(), rotary.attention_scaling
    )
