"""Building vLLM's model with our rotary embedding in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rope_eval.backends.vllm.serving import rotary_of_config
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.spec import RopeSpec


@contextmanager
def our_rotary(vllm_config: Any, spec: RopeSpec) -> Iterator[None]:
    """Have vLLM build `SpecRotary` wherever it would build its plain rotary embedding."""
    from vllm.model_executor.custom_op import op_registry_oot
    from vllm.model_executor.layers.rotary_embedding import _ROPE_DICT

    from rope_eval.backends.vllm.rotary import Layout, Tables, bound

    rotary = rotary_of_config(vllm_config, spec)
    layout = Layout.of(rotary, vllm_config.model_config.max_model_len)
    device = torch.device(vllm_config.device_config.device)
    longest_batch = vllm_config.scheduler_config.max_num_batched_tokens
    ours = bound(rotary, Tables.of(rotary, layout, device), longest_batch)

    config = vllm_config.model_config.hf_config
    parameters = config.rope_parameters
    plain = {k: parameters[k] for k in ("rope_theta", "partial_rotary_factor") if k in parameters}
    registered = op_registry_oot.get("RotaryEmbedding")
    kept = dict(_ROPE_DICT)  # modules of other engines in this process
    _ROPE_DICT.clear()
    op_registry_oot["RotaryEmbedding"] = ours
    config.rope_parameters = {**plain, "rope_type": "default"}
    try:
        yield
    finally:
        config.rope_parameters = parameters
        del op_registry_oot["RotaryEmbedding"]
        if registered is not None:
            op_registry_oot["RotaryEmbedding"] = registered
        _ROPE_DICT.clear()
        _ROPE_DICT.update(kept)


def check_model(model: torch.nn.Module) -> None:
    """Raise where the model was built without `SpecRotary`, or with another rotary beside it."""
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase

    from rope_eval.backends.vllm.rotary import SpecRotary

    kinds = {type(m) for m in model.modules() if isinstance(m, RotaryEmbeddingBase)}
    if not kinds or not all(issubclass(kind, SpecRotary) for kind in kinds):
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none of its own"
        raise UnsupportedModelError(
            f"vLLM built {type(model).__name__} with another rotary embedding ({names}), so the "
            "RopeSpec would not be applied: use the Hugging Face backend (backend=hf)"
        )


def find_rotary(model: torch.nn.Module) -> Any:
    """Return a model's `SpecRotary`, or None where it was built without a RopeSpec."""
    from rope_eval.backends.vllm.rotary import SpecRotary

    return next((module for module in model.modules() if isinstance(module, SpecRotary)), None)
