"""What transformers and accelerate do differently by version and model: the object is asked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, modeling_utils

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


@contextmanager
def unmapped() -> Iterator[None]:
    """Have transformers read parts of files, and not map all of them, where a version can.

    A limit on address space (``ulimit -v``) counts what is mapped.
    """
    opened = getattr(modeling_utils, "safe_open", None)

    def reading(*args: Any, **kwargs: Any) -> Any:
        assert opened is not None
        return opened(*args, **kwargs | ({"backend": "pread"} if "backend" in kwargs else {}))

    if opened is None:
        yield
        return
    modeling_utils.safe_open = reading
    try:
        yield
    finally:
        modeling_utils.safe_open = opened


def input_device(model: PreTrainedModel) -> torch.device:
    """Return where a model's tokens are to be, its embeddings being offloaded or not."""
    embeddings = model.get_input_embeddings()
    hook = getattr(embeddings, "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        if (place := getattr(one, "execution_device", None)) is not None:
            return torch.device(place)
    device: torch.device = embeddings.weight.device
    return device


def at_hand(module: nn.Module) -> AbstractContextManager[None]:
    """Have a module's own weights where it computes for a while, be they offloaded."""
    if not hasattr(module, "_hf_hook"):
        return nullcontext()
    from accelerate.utils import align_module_device

    there: AbstractContextManager[None] = align_module_device(module)
    return there
