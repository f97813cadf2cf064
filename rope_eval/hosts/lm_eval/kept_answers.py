"""lm-eval's --use_cache: each setting has answers of its own in the file.

lm-eval's key is the request alone, so that the second setting of a sweep would be given the first
one's answers. Its file is a database; every model of ours has a table of its own in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch

HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        "batch_size": "to rounding",
        "max_batch_size": "to rounding",
        "device": "the kind of device is in the identity",
        "trust_remote_code": "the model's class and weights are in the identity",
        "tokenizer": "how it cuts a text is in the identity",
    }
)
"""Arguments of a model that are not in the identity by their names, and why."""


def keep_apart(hook: Any, identity: Mapping[str, Any]) -> None:
    """Give a model a table of its own in the database of lm-eval's cache.

    Args:
        hook: lm-eval's `CacheHook`; it and the `CachingLM` that made it share one database object.
        identity: all that answers depend on.
    """
    if hook.dbdict is None:
        return
    text = json.dumps(identity, sort_keys=True, default=repr)
    table = "rope_eval_" + hashlib.sha256(text.encode()).hexdigest()[:32]
    type(hook.dbdict)(hook.dbdict.filename, tablename=table).close()  # makes the table
    hook.dbdict.tablename = table


def asked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a model that may change an answer."""
    return {name: value for name, value in arguments.items() if name not in HARMLESS}


def weights_digest(model: torch.nn.Module) -> str:
    """Return SHA-256 of a model's class and weights, as they are in memory.

    Adapters, deltas, quantisation and the dtype are in it, and so is what was done to a model that
    was given loaded.
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        for part in _bytes(tensor):
            digest.update(part)
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> Iterator[Any]:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for part in flat.split(64 << 20):
        yield part.cpu().numpy().data


def tokenizer_digest(tokenizer: Any) -> str:
    """Return SHA-256 of how a tokenizer cuts a text."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    text = fast.to_str() if fast is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256((repr(tokenizer.special_tokens_map) + text).encode()).hexdigest()
