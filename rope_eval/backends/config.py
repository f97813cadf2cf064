"""What a checkpoint's config says: whether the mechanism fits, and its rotary geometry."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.errors import DataError, UnsupportedModelError
from rope_eval.rope.geometry import RopeConfig, RotaryGeometry
from rope_eval.rope.method import FACTOR
from rope_eval.rope.methods import METHODS
from rope_eval.rope.rotary import inverse_frequencies

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


def rope_config(config: PreTrainedConfig) -> RopeConfig:
    """Return what transformers knows of a config, but only the length that config.json says.

    Where it is silent, transformers puts its own default, which says nothing of the checkpoint.
    """
    values = config.to_dict()
    name = config._name_or_path or ""
    file = Path(name, "config.json")
    if not file.is_file():
        file = _on_the_hub(name, getattr(config, "_commit_hash", None)) or file
    if file.is_file():
        written = json.loads(file.read_bytes())
        for length in ("max_position_embeddings", "original_max_position_embeddings"):
            if length not in written:
                values.pop(length, None)
    return RopeConfig(values, f"the config of {name or 'the model'}")


def _on_the_hub(name: str, commit: str | None) -> Path | None:
    """Return where the config.json of a hub name lies that was loaded, or None."""
    try:
        found = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def config_geometry(config: PreTrainedConfig) -> RotaryGeometry:
    """Read the rotary embedding of a supported model from its config alone.

    Raises:
        UnsupportedModelError: for a model the mechanism does not fit.
        DataError: for a config without what a rotary embedding is made of.
    """
    check_supported(config)
    said = rope_config(config)
    if said.head_dim is None or said.rotary_dim is None or said.rope_theta is None:
        raise DataError(f"{said.where} has no head_dim or no rope_theta")
    inv_freq, attention_factor = inverse_frequencies(said.rope_theta, said.rotary_dim), 1.0
    if said.rope_type in STATIC_ROPE_TYPES:
        inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[said.rope_type](config, "cpu")
    return geometry_of(config, said.head_dim, inv_freq, attention_factor)


def geometry_of(
    config: PreTrainedConfig, head_dim: int, inv_freq: Tensor, attention_factor: float
) -> RotaryGeometry:
    """Return the geometry of a config whose frequencies ``[F]`` and attention factor are known.

    Raises:
        UnsupportedModelError: for frequencies that depend on the length, or none to change.
        DataError: for a config without a base.
    """
    said = rope_config(config)
    rotary_dim = 2 * len(inv_freq)
    if rotary_dim < 4:
        raise UnsupportedModelError(
            f"a rotary embedding of {rotary_dim} dimensions has no frequencies to change"
        )
    if said.rope_type != "default" and said.rope_type not in STATIC_ROPE_TYPES:
        raise UnsupportedModelError(
            f"the model's config asks for rope_type={said.rope_type}, which is not supported: set "
            "rope_type=default in config.json, and ask for the method by its RopeSpec field"
            + _as_setting(said.rope_type)
        )
    if said.rope_theta is None:
        raise DataError(f"{said.where} has no rope_theta")
    return RotaryGeometry(
        head_dim=head_dim,
        rotary_dim=rotary_dim,
        rope_theta=float(said.rope_theta),
        train_length=said.train_length,
        inv_freq=None if said.rope_type == "default" else inv_freq.to("cpu").double(),
        attention_factor=float(attention_factor),
        rope_type=said.rope_type,
        laws=said.laws,
    )


def _as_setting(rope_type: str) -> str:
    for method in METHODS:
        if method.rope_type is not None and method.rope_type[0] == rope_type:
            setting = method.rope_type[1].replace(FACTOR, "…")
            return f": {setting} is transformers' {rope_type}"
    return ""
