"""The attention layers of a model of vLLM's, and what each turns by.

No list of families: an attention layer is a module that has vLLM's `Attention` and a rotary
embedding of vLLM's, or ours in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from rope_eval.backends.vllm.learnt import LearntRotary
from rope_eval.backends.vllm.rotary import SpecRotary
from rope_eval.errors import UnsupportedModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """An attention layer.

    Attributes:
        name: that of its module in the model.
        module: it.
        rotary: the attribute of it that is a rotary embedding; None where it has none.
        attention: vLLM's `Attention` in it.
    """

    name: str
    module: nn.Module
    rotary: str | None
    attention: Any

    @property
    def embedding(self) -> Any:
        """What is at `rotary` now: vLLM's own, or ours."""
        return None if self.rotary is None else getattr(self.module, self.rotary)


def layers_of(model: nn.Module) -> list[Layer]:
    """Return a model's attention layers, in the order in which they are in it."""
    from vllm.model_executor.layers.attention import Attention
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase

    kinds = (RotaryEmbeddingBase, LearntRotary, SpecRotary)
    layers, held, other = [], set(), set()
    for name, module in model.named_modules():
        children = dict(module.named_children())
        attends = [m for m in children.values() if isinstance(m, AttentionLayerBase)]
        turns = [n for n, m in children.items() if isinstance(m, kinds)]
        other |= {type(m).__name__ for m in attends if type(m) is not Attention}
        if len(attends) == 1 and len(turns) <= 1:
            rotary = turns[0] if turns else None
            layers.append(Layer(name=name, module=module, rotary=rotary, attention=attends[0]))
            held |= {id(children[n]) for n in turns}
        elif attends or turns:
            raise refused(model, f"has a layer ({name}) of {len(attends)} attentions")
    if other:
        raise refused(model, f"attends by {', '.join(sorted(other))}")
    if not held:
        raise refused(model, "has no rotary embedding of vLLM's own in its attention layers")
    if any(isinstance(m, RotaryEmbeddingBase) and id(m) not in held for m in model.modules()):
        raise refused(model, "has a rotary embedding outside its attention layers")
    return layers


def find_rotaries(model: nn.Module) -> list[SpecRotary]:
    """Return the `SpecRotary` of layers that take the setting: none without a RopeSpec."""
    return [m for m in model.modules() if isinstance(m, SpecRotary) and m.takes is not None]


def count_layers(model: nn.Module) -> tuple[int, int]:
    """Return how many layers take the setting, and how many turn at all."""
    put = [m for m in (layer.embedding for layer in layers_of(model)) if isinstance(m, SpecRotary)]
    return sum(m.takes is not None for m in put), len(put)


def refused(model: nn.Module, why: str) -> UnsupportedModelError:
    """Return the error for a model that the mechanism does not fit."""
    return UnsupportedModelError(
        f"vLLM's {type(model).__name__} {why}, so the RopeSpec would not be applied as asked: use "
        "the Hugging Face backend (backend=hf)"
    )
