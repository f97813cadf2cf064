"""Which models an engine serves with a RopeSpec, and their geometry by their config alone."""

from __future__ import annotations

import copy

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.backends.config import refused_rope_type, rope_config
from rope_eval.errors import DataError, UnsupportedModelError
from rope_eval.rope.geometry import RotaryGeometry

FAMILIES = ("llama", "mistral", "phi", "phi3", "qwen2", "qwen3", "stablelm")
# fmt: off
INTERLEAVED = frozenset((
    "codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "glm", "glm4",
    "gptj", "helium", "llama4_text",
))
# fmt: on
MULTI_SECTION = frozenset(("glm4v", "glm4v_text", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"))
STATIC_ROPE_TYPES = frozenset(("linear", "llama3", "yarn"))


def check_supported(config: PreTrainedConfig) -> None:
    """Raise `UnsupportedModelError`, by name, for a model that is not served."""
    family = config.model_type
    if family in INTERLEAVED:
        raise UnsupportedModelError(
            f"{family} models use interleaved rotary embeddings (neighbouring dimensions make a "
            "pair), which are not served by vLLM with a RopeSpec: use backend=hf"
        )
    if family in MULTI_SECTION:
        raise UnsupportedModelError(
            f"{family} models use multi-section rotary embeddings, which are not supported"
        )
    if family not in FAMILIES:
        raise UnsupportedModelError(
            f"{family} models are not served by vLLM with a RopeSpec: use backend=hf; served are "
            + ", ".join(FAMILIES)
        )
    layer_types = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in layer_types or (family in ("mistral", "phi3") and window):
        raise UnsupportedModelError(
            f"this {family} model uses a sliding window of {window} tokens, which is not "
            "served by vLLM with a RopeSpec: use backend=hf"
        )


def config_geometry(config: PreTrainedConfig) -> RotaryGeometry:
    """Read the rotary embedding of a served model from its config alone.

    Raises:
        UnsupportedModelError: for a model that is not served.
        DataError: for a config without what a rotary embedding is made of.
    """
    check_supported(config)
    said = rope_config(config)
    if said.head_dim is None or said.rotary_dim is None or said.rope_theta is None:
        raise DataError(f"{said.where} has no head_dim or no rope_theta")
    if said.rotary_dim < 4:
        raise UnsupportedModelError(
            f"a rotary embedding of {said.rotary_dim} dimensions has no frequencies to change"
        )
    if said.rope_type != "default" and said.rope_type not in STATIC_ROPE_TYPES:
        raise refused_rope_type(said.rope_type)

    def rescaled(rope_theta: float) -> Tensor:
        other = copy.deepcopy(config)
        other.rope_parameters["rope_theta"] = rope_theta
        inv_freq: Tensor = ROPE_INIT_FUNCTIONS[said.rope_type](other, "cpu")[0]
        return inv_freq.double()

    inv_freq, attention_factor = None, 1.0
    if said.rope_type != "default":
        inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[said.rope_type](config, "cpu")
    return RotaryGeometry(
        head_dim=said.head_dim,
        rotary_dim=said.rotary_dim,
        rope_theta=float(said.rope_theta),
        train_length=said.train_length,
        inv_freq=None if inv_freq is None else inv_freq.double(),
        attention_factor=float(attention_factor),
        rescaled=None if inv_freq is None else rescaled,
        rope_type=said.rope_type,
        laws=said.laws,
    )
