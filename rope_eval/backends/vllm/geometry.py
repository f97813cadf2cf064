"""The geometry of an engine's layers by their config alone, before anything is loaded."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.backends.config import refused_rope_type, rope_config
from rope_eval.errors import DataError, UnsupportedModelError
from rope_eval.rope.geometry import RopeConfig, RotaryGeometry

FULL = "full_attention"
STATIC_ROPE_TYPES = frozenset(("linear", "llama3", "yarn"))
_NOT_SERVED = {  # what a config has, and what that is
    "kv_lora_rank": "multi-head latent attention",
    "layer_rope_theta": "a base for each layer",
    "text_config": "more than text",
    "index_topk": "a sparse indexer",
    "alibi": "ALiBi and no rotary embedding",
    "linear_num_value_heads": "linear attention between its layers",
}


def check_supported(config: PreTrainedConfig) -> None:
    """Raise `UnsupportedModelError`, by name, for a model whose config says it is not served.

    What a config does not say is found in the engine's model (`rope_eval.backends.vllm.model`).
    """
    said: Any = config
    what = next((why for name, why in _NOT_SERVED.items() if getattr(said, name, None)), None)
    parameters = getattr(said, "rope_parameters", None) or {}
    if what is None and not parameters:
        what = "no rope_parameters in their config"
    if what is None and any("mrope_section" in some for some in _tables(parameters).values()):
        what = "multi-section rotary embeddings"
    if what is not None:
        raise UnsupportedModelError(
            f"{said.model_type} models have {what}, which is not served by vLLM with a RopeSpec: "
            "use backend=hf"
        )


def _tables(parameters: dict[str, Any]) -> dict[str | None, dict[str, Any]]:
    """Return the parameters of each type of layer; of None where all have the same."""
    by_type: dict[str | None, dict[str, Any]] = {
        name: some for name, some in parameters.items() if isinstance(some, dict)
    }
    return by_type or {None: parameters}


def config_geometry(config: PreTrainedConfig, layer_type: str | None = FULL) -> RotaryGeometry:
    """Read the rotary embedding of a model's layers from its config alone.

    Args:
        config: the model's.
        layer_type: which layers, where each type has its own embedding; where none is of this
            type, those that there are.

    Raises:
        UnsupportedModelError: for a model that is not served.
        DataError: for a config without what a rotary embedding is made of.
    """
    check_supported(config)
    tables = _tables(config.rope_parameters)
    used = [kind for kind in tables if kind in (getattr(config, "layer_types", None) or tables)]
    asked = layer_type if layer_type in used else next(iter(used or tables))
    whole = rope_config(config)
    said = RopeConfig({**whole.values, "rope_parameters": tables[asked]}, whole.where)
    if said.head_dim is None or said.rotary_dim is None or said.rope_theta is None:
        raise DataError(f"{said.where} has no head_dim or no rope_theta")
    if said.rotary_dim < 4:
        raise UnsupportedModelError(
            f"a rotary embedding of {said.rotary_dim} dimensions has no frequencies to change"
        )
    if said.rope_type != "default" and said.rope_type not in STATIC_ROPE_TYPES:
        raise refused_rope_type(said.rope_type)

    def scaled(rope_theta: float) -> tuple[Tensor, float]:
        other = copy.deepcopy(config)
        _tables(other.rope_parameters)[asked]["rope_theta"] = rope_theta
        made: tuple[Tensor, float] = ROPE_INIT_FUNCTIONS[said.rope_type](
            other, "cpu", layer_type=asked
        )
        return made[0].double(), float(made[1])

    inv_freq, attention_factor = None, 1.0
    if said.rope_type != "default":
        inv_freq, attention_factor = scaled(said.rope_theta)
    return RotaryGeometry(
        head_dim=said.head_dim,
        rotary_dim=said.rotary_dim,
        rope_theta=float(said.rope_theta),
        train_length=said.train_length,
        inv_freq=inv_freq,
        attention_factor=attention_factor,
        rescaled=None if inv_freq is None else lambda rope_theta: scaled(rope_theta)[0],
        rope_type=said.rope_type,
        laws=said.laws,
    )
