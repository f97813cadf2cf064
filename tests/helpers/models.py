"""Tiny models of every supported family, sharp enough for each position method to be felt."""

import functools
import math
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
)

from rope_eval.backends.hf.attention import rotary_of
from rope_eval.backends.hf.patch import patched
from rope_eval.rope.methods import FIELDS
from rope_eval.rope.spec import RopeSpec

TRAIN_LENGTH = 32
VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": TRAIN_LENGTH,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
}
PARTIAL = {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5}
FAMILIES: dict[
    str, tuple[type[PreTrainedConfig], dict[str, Any]]
] = {  # name of a variant -> config class, and what differs from SHAPE
    "llama": (LlamaConfig, {}),
    "llama_multi_query": (LlamaConfig, {"num_key_value_heads": 1, "head_dim": 24}),
    "llama_biased": (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 16}),
    "phi": (PhiConfig, {"rope_parameters": PARTIAL, "qk_layernorm": True}),
    "phi3": (Phi3Config, {"rope_parameters": PARTIAL, "sliding_window": None}),
    "stablelm": (StableLmConfig, {"rope_parameters": PARTIAL, "use_qkv_bias": True}),
    "stablelm_parallel": (
        StableLmConfig,
        {"rope_parameters": PARTIAL, "use_parallel_residual": True},
    ),
}
SCALED = {  # rope_parameters of configs that scale their frequencies themselves
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": TRAIN_LENGTH,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": TRAIN_LENGTH,
    },
}


def config_of(family: str, **changes: object) -> PreTrainedConfig:
    kind, differences = FAMILIES[family]
    fields: dict[str, Any] = {**SHAPE, **differences, **changes}
    return kind(**fields)


def build(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Return a model in evaluation mode whose weights depend on the seed and the shapes alone."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                is_norm_weight = "norm" in name and name.endswith("weight")
                parameter.copy_(noise * 0.2 + (1.0 if is_norm_weight else 0.0))
                if is_norm_weight and "self_attn" in name:  # of queries and keys
                    parameter.mul_(1.6)
            elif "embed" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise * _gain(name, model) / math.sqrt(parameter.shape[1]))
    return model.eval()


def _gain(name: str, model: PreTrainedModel) -> float:
    if "q_proj" in name or "k_proj" in name or "qkv_proj" in name:
        return 1.6
    if "o_proj" in name or "dense" in name:
        return 2.0
    if "lm_head" in name:
        return 3.0
    return 1.0


@functools.cache
def tiny(family: str = "llama") -> PreTrainedModel:
    """Return the one shared model of a family: tests leave it as they found it."""
    return build(config_of(family))


def fitted(text: str, pairs: int) -> RopeSpec:
    """Return a setting whose lists and counts, made for the Llama, fit so many rotated pairs."""
    spec = RopeSpec.parse(text)

    def fit(value: Any) -> Any:
        if isinstance(value, int):
            return min(value, pairs)
        if isinstance(value[0], tuple):
            return [fit(one) for one in value]
        return [value[n * len(value) // pairs] for n in range(pairs)]

    changed = {f.name for f in FIELDS if f.per_pair and getattr(spec, f.name)}
    return spec.replace(**{name: fit(getattr(spec, name)) for name in changed})


def pairs_of(family: str) -> int:
    """Return how many pairs of dimensions a family's model rotates."""
    return pairs_that_turn(tiny(family))


def pairs_that_turn(model: PreTrainedModel) -> int:
    """Return how many pairs of dimensions the layers of a model rotate that take a setting."""
    with patched(model, RopeSpec()):
        return rotary_of(model).pairs


@functools.cache
def tiny_scaled(rope_type: str) -> PreTrainedModel:
    """Return the shared Llama whose config scales its frequencies."""
    return build(config_of("llama", rope_parameters=dict(SCALED[rope_type])))


@functools.cache
def mixed() -> PreTrainedModel:
    """Return the shared Qwen2 whose second layer sees a window of 16 alone."""
    window = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
    return build(config_of("qwen2", **window))


def token_ids(length: int, rows: int = 1, seed: int = 0) -> Tensor:
    """Return random tokens ``[rows, length]`` without BOS (0) and padding (1)."""
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randint(2, VOCABULARY, (rows, length), generator=generator)


@torch.no_grad()
def log_probabilities(model: PreTrainedModel, input_ids: Tensor, **kwargs: object) -> Tensor:
    """Return log p of every next token, float64 ``[B, T, V]``."""
    return model(input_ids, use_cache=False, **kwargs).logits.double().log_softmax(-1)


def nll(log_p: Tensor, input_ids: Tensor) -> Tensor:
    """Return what tokens 1 … T − 1 cost, ``[B, T − 1]``, from `log_probabilities`."""
    return -log_p[:, :-1].gather(-1, input_ids[:, 1:, None])[..., 0]
