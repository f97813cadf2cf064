"""What a model's modules do in a pass: what they return, the cache that they share, their norms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from rope_eval.backends.hf.recording import Call, Recorded


class Watched:
    """One forward pass of a model, watched from outside.

    Attributes:
        returns: the type of what each child of the model returned, by name.
        cache: the cache that reached its layers, or None.
        state: the names of what its modules hold that they did not before.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.returns: dict[str, type] = {}
        self.cache: Cache | None = None
        self.state = ""
        self._returned: dict[nn.Module, Any] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> None:
        self._held = _tensors(self.model)
        for name, module in self.model.named_children():
            self._hooks.append(module.register_forward_hook(partial(self._after_child, name)))
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList):
                self._hooks += [
                    block.register_forward_hook(self._after, with_kwargs=True) for block in module
                ]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.state = ", ".join(sorted(_tensors(self.model) - self._held)[:2])

    def _after(self, block: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        again = block in self._returned
        self._returned[block] = _AGAIN if again else out
        given = (x for x in (*args, *kwargs.values()) if isinstance(x, Cache))
        self.cache = next(given, self.cache)

    def _after_child(self, name: str, child: nn.Module, args: Any, out: Any) -> None:
        self.returns[name] = type(out)

    def ran_in_order(self, blocks: str) -> bool:
        """Tell whether each module of a list ran once, one after the other."""
        modules = list(self.model.get_submodule(blocks).children())
        ran = [module for module in self._returned if module in modules]
        return ran == modules and all(self._returned[module] is not _AGAIN for module in modules)

    def outputs(self, blocks: str) -> tuple[tuple[bool, ...] | None, ...]:
        """Return of each decoder layer which elements of its tuple are something."""
        outputs = [self._returned[block] for block in self.model.get_submodule(blocks).children()]
        return tuple(
            tuple(x is not None for x in out) if isinstance(out, tuple) else None for out in outputs
        )

    def number(self, call: Call) -> int | None:
        """Return under which number the cache has what a layer put into it, if it has."""
        place = getattr(call.module, "layer_idx", None)
        layers = getattr(self.cache, "layers", [])
        if not isinstance(place, int) or not 0 <= place < len(layers):
            return None
        return None if getattr(layers[place], "keys", None) is None else place

    def caches(self, call: Call) -> bool:
        """Tell whether the cache holds the keys that a call attended with."""
        number = self.number(call)
        if number is None or self.cache is None:
            return False
        kept = self.cache.layers[number].keys
        if kept.ndim != 4 or kept.shape[-1] != call.key.shape[-1]:
            return False
        return torch.equal(kept, call.key[:, :, call.key.shape[2] - kept.shape[2] :])

    @property
    def keeps_state(self) -> bool:
        """Whether the cache holds more than keys and values."""
        return any(
            hasattr(layer, "recurrent_states") for layer in getattr(self.cache, "layers", [])
        )


_AGAIN = object()


def _tensors(model: nn.Module) -> set[str]:
    """Return the names of all tensors that modules hold beside parameters and buffers."""
    return {
        f"{name}.{attribute}"
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def norms_of(
    model: nn.Module, names: dict[nn.Module, str], run: Callable[[], Recorded]
) -> dict[str, tuple[str, str]]:
    """Return the modules whose outputs are the queries and keys of attention, by its name.

    Args:
        model: the whole model.
        names: of its modules.
        run: sends something through it, and returns what reached its attention.
    """
    returned: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            returned.append((module, out))

    weighted = [m for m in model.modules() if getattr(m, "weight", None) is not None]
    hooks = [m.register_forward_hook(keep) for m in weighted if m.weight.ndim == 1]
    try:
        calls = run().calls
    finally:
        for hook in hooks:
            hook.remove()

    def made(x: Tensor) -> str | None:
        for module, out in returned:
            if any(
                y.shape == x.shape and torch.equal(y, x)
                for y in (out, out.transpose(1, 2) if out.ndim == 4 else out)
            ):
                return names[module]
        return None

    found = {}
    for call in calls:
        query, key = made(call.query), made(call.key)
        if query is not None and key is not None:
            found[names[call.module]] = (query, key)
    return found
