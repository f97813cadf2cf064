"""What transformers calls differently between versions: the object is asked, not its version."""

from __future__ import annotations

import inspect
from typing import Any

import transformers
from torch import nn

from rope_eval.errors import UnsupportedModelError

CACHE_NAMES = ("cache", "past_key_values")  # from transformers 5.24 on, and before


def cache_argument(module: nn.Module) -> str:
    """Return what a layer or a model calls the cache that it is given.

    Args:
        module: a decoder layer, a base model or a causal language model.

    Raises:
        UnsupportedModelError: for a module that takes no cache by either name.
    """
    takes = inspect.signature(module.forward).parameters
    for name in CACHE_NAMES:
        if name in takes:
            return name
    raise UnsupportedModelError(
        f"{type(module).__name__} takes no cache: expected one of {', '.join(CACHE_NAMES)} among "
        f"{', '.join(takes)}"
    )


def dequantized() -> dict[str, Any]:
    """Return what `from_pretrained` takes to unpack a GGUF file; older versions always do."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}
