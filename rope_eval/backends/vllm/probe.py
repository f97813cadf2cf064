"""A few tokens through a layer: whether what attends is what our rotary embedding made."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from rope_eval.backends.vllm.layers import Layer, refused
from rope_eval.backends.vllm.learnt import Turning

TOKENS = 4


class Probe:
    """A few tokens through each layer of a model, with our embeddings in their places.

    Args:
        model: vLLM's.
        model_config: vLLM's.

    Attributes:
        stocks: vLLM's own embeddings, which must not be called any more.
    """

    def __init__(self, model: nn.Module, model_config: Any):
        self.model = model
        self.stocks: list[Any] = []
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(0)
        hidden = torch.randn(TOKENS, model_config.get_hidden_size(), generator=generator)
        self.hidden = hidden.to(device, model_config.dtype)
        self.positions = torch.arange(TOKENS, device=device)

    def turns(self, layer: Layer) -> bool:
        """Tell whether a layer turns by our embedding.

        Raises:
            UnsupportedModelError: where what attends is not what our embedding made.
        """
        made, attended = self._run(layer, self.positions)
        if not made and len(attended) == 1:
            elsewhere = self._run(layer, self.positions + 1)[1]
            if all(map(_same, attended[0], elsewhere[0])):
                return False
        if len(made) != 1 or len(attended) != 1:
            raise refused(
                self.model,
                f"has a layer ({layer.name}) that turns {len(made)} times by its rotary embedding, "
                f"and attends {len(attended)} times",
            )
        positions, *turned = made[0]
        if not torch.equal(positions, self.positions) or not all(map(_same, turned, attended[0])):
            raise refused(
                self.model, f"changes queries or keys after they turned (in {layer.name})"
            )
        return True

    def _run(
        self, layer: Layer, positions: Tensor
    ) -> tuple[list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
        """Return what went into and out of our embedding, and the queries and keys that attend."""
        made: list[tuple[Tensor, ...]] = []
        attended: list[tuple[Tensor, ...]] = []
        rotate = layer.embedding.forward

        def turn(positions: Tensor, query: Tensor, key: Tensor) -> Any:
            out = rotate(positions, query, key)
            made.append((positions, *out))
            return out

        def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
            attended.append((query, key))
            return torch.zeros_like(query)

        def theirs(*_: Any, **__: Any) -> Any:
            raise RuntimeError("vLLM's own rotary embedding was called")

        with ExitStack() as stack, torch.inference_mode():
            for stock in self.stocks:
                stack.enter_context(patch.object(stock, "forward", theirs))
            stack.enter_context(patch.object(layer.embedding, "forward", turn))
            stack.enter_context(patch.object(layer.attention, "forward", attend))
            try:
                if isinstance(layer.module, Turning):
                    layer.module.probe(positions, self.hidden)
                else:
                    layer.module(positions=positions, hidden_states=self.hidden)
            except Exception as error:  # a layer is any code
                why = f"has a layer ({layer.name}) that a probe cannot run ({error})"
                raise refused(self.model, why) from error
        return made, attended


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.reshape(TOKENS, -1), other.reshape(TOKENS, -1))
