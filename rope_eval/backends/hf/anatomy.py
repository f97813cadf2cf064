"""Which models the mechanism fits, and where their parts are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import RotaryGeometry, inverse_frequencies

FINAL_NORM = {  # supported families, and what each calls its last normalisation
    "llama": "norm",
    "mistral": "norm",
    "phi": "final_layernorm",
    "phi3": "norm",
    "qwen2": "norm",
    "qwen3": "norm",
    "stablelm": "norm",
}
# fmt: off
INTERLEAVED = frozenset((
    "codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "glm", "glm4",
    "gptj", "helium", "llama4_text",
))
# fmt: on
MULTI_SECTION = frozenset(("glm4v", "glm4v_text", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"))
STATIC_ROPE_TYPES = frozenset(("linear", "llama3", "yarn"))


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


def check_supported(config: PreTrainedConfig) -> None:
    """Raise `UnsupportedModelError`, by name, for a model the mechanism does not fit."""
    family = config.model_type
    if family in INTERLEAVED:
        raise UnsupportedModelError(
            f"{family} models use interleaved rotary embeddings (neighbouring dimensions make a "
            "pair), which are not supported"
        )
    if family in MULTI_SECTION:
        raise UnsupportedModelError(
            f"{family} models use multi-section rotary embeddings, which are not supported"
        )
    if family not in FINAL_NORM:
        raise UnsupportedModelError(
            f"{family} models are not supported; the supported families are {', '.join(FINAL_NORM)}"
        )
    layer_types = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in layer_types or (family in ("mistral", "phi3") and window):
        raise UnsupportedModelError(
            f"this {family} model uses a sliding window of {window} tokens, which is not supported"
        )


def geometry(model: PreTrainedModel) -> RotaryGeometry:
    """Read a supported model's own rotary embedding."""
    parts = Anatomy.of(model)
    rotary: Any = parts.rotary
    attention: Any = parts.attentions[0]
    return _geometry(
        model.config, attention.head_dim, rotary.inv_freq.detach(), rotary.attention_scaling
    )


def config_geometry(config: PreTrainedConfig) -> RotaryGeometry:
    """Read the rotary embedding of a supported model from its config alone, as `geometry` does."""
    check_supported(config)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    parameters = config.rope_parameters
    rotary_dim = int(head_dim * parameters.get("partial_rotary_factor", 1.0))
    rope_type = parameters.get("rope_type", "default")
    inv_freq, attention_factor = inverse_frequencies(parameters["rope_theta"], rotary_dim), 1.0
    if rope_type in STATIC_ROPE_TYPES:
        inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[rope_type](config, "cpu")
    return _geometry(config, head_dim, inv_freq, attention_factor)


def _geometry(
    config: PreTrainedConfig, head_dim: int, inv_freq: Tensor, attention_factor: float
) -> RotaryGeometry:
    rotary_dim = 2 * len(inv_freq)
    if rotary_dim < 4:
        raise UnsupportedModelError(
            f"a rotary embedding of {rotary_dim} dimensions has no frequencies to change"
        )
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type != "default" and rope_type not in STATIC_ROPE_TYPES:
        raise UnsupportedModelError(
            f"the model's config asks for rope_type={rope_type}, which is not supported: set "
            "rope_type=default in config.json, and ask for the method by its RopeSpec field "
            "(dynamic_ntk=per_sequence,ntk_formula=continuous is transformers' dynamic)"
        )
    return RotaryGeometry(
        head_dim=head_dim,
        rotary_dim=rotary_dim,
        rope_theta=float(config.rope_parameters["rope_theta"]),
        train_length=_train_length(config),
        inv_freq=None if rope_type == "default" else inv_freq.to("cpu", torch.float64),
        attention_factor=float(attention_factor),
    )


def _train_length(config: PreTrainedConfig) -> int | None:
    """Return max_position_embeddings, or None where config.json is silent.

    transformers then puts its own default in the place, which says nothing of the checkpoint.
    """
    file = Path(config._name_or_path or "", "config.json")
    if file.is_file() and "max_position_embeddings" not in json.loads(file.read_bytes()):
        return None
    length: int | None = getattr(config, "max_position_embeddings", None)
    return length
