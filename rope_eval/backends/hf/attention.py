"""The attention function: unrotated keys in the cache, each query with its own base.

Shape letters: B batch, N heads, M key-value heads, Q queries, K keys, H head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from rope_eval.backends.config import geometry_under
from rope_eval.backends.hf.anatomy import Anatomy
from rope_eval.backends.hf.forward_pass import ForwardPass
from rope_eval.backends.hf.kernels import Scores
from rope_eval.backends.hf.layer_attention import LayerAttention, Plan
from rope_eval.backends.hf.layers import Layer, Pattern
from rope_eval.backends.hf.masks import checked
from rope_eval.backends.hf.overrides import ATTRIBUTE
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

NAME = "rope_eval"  # in transformers' attention and mask interfaces


class RopeAttention(ForwardPass):
    """The attention of one patched model.

    Attributes:
        spec: the setting.
        anatomy: of the model.
        layers: the attention of each of its layers, as in the anatomy.
        taking: which of them take the setting.
        rotary: the setting on the layers that take it: what laws, lengths and tables speak of.

    Raises:
        SpecError: where the setting has no sense for the model.
        UnsupportedModelError: where the model's own frequencies need another.
    """

    def __init__(self, spec: RopeSpec, anatomy: Anatomy):
        super().__init__()
        self.spec, self.anatomy = spec, anatomy
        by_layer = anatomy.by_layer(spec)
        self.taking = by_layer.taking
        made: dict[tuple[int | None, bool, RopeSpec], Rotary] = {}
        plans: dict[tuple[int | None, bool, RopeSpec, Pattern], Plan] = {}
        self.layers = []
        for i, layer in enumerate(anatomy.layers):
            still = layer.table is None or i in by_layer.kept
            key = layer.table, still, by_layer.part(i)
            if key not in made:
                geometry = anatomy.tables[layer.table or 0].geometry
                geometry = geometry.still() if still else geometry_under(key[-1], geometry)
                made[key] = Rotary(key[-1], geometry)
            if made[key].position_map is not None:
                self._check_map(layer)
            plan = plans.setdefault((*key, layer.pattern), Plan(made[key], layer.pattern))
            self.layers.append(LayerAttention(self, layer, plan))
        self.rotary = Rotary(spec, geometry_under(spec, anatomy.geometry))
        self.rotaries = tuple(made.values())
        self._plans = tuple(plans.values())

    def _check_map(self, layer: Layer) -> None:
        if not layer.pattern.is_full:
            why = f"sees {layer.pattern}: a position map needs layers that see all before"
        elif layer.norms is not None:
            why = (
                "weighs queries and keys after they turned: its scores are of the positions "
                "themselves, and a map gives distances"
            )
        else:
            return
        raise SpecError(f"{self.spec} maps positions, and {layer.module} takes it, which {why}")

    def forget(self) -> None:
        """Let go of the last forward pass's tables: its tensors may be changed in place."""
        super().forget()
        for plan in self._plans:
            plan.forget()


def scores_of(query: Tensor, keywords: Mapping[str, Any]) -> Scores:
    """Return what the keywords of an attention function say of its scores."""
    scaling = keywords.get("scaling")
    return Scores(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=keywords.get("softcap"),
        sinks=keywords.get("s_aux"),
    )


def attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    **keywords: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' attention interface asks; the output is ``[B, Q, N, V]``."""
    if dropout:
        raise UnsupportedModelError(
            f"attention dropout of {dropout:g} is not supported: call model.eval()"
        )
    attention: LayerAttention = getattr(module, ATTRIBUTE)
    places = checked(attention_mask)
    out = attention.attend(query, key, value, places, scores_of(query, keywords))
    return out.transpose(1, 2).contiguous(), None


def rotary_of(model: nn.Module) -> Rotary:
    """Return the numbers a patched model is running with, of the layers that take the setting."""
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    return attention.rotary


def taken(model: nn.Module) -> str:
    """Return how many of a patched model's attention layers take the setting: "2 of 6"."""
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    return f"{len(attention.taking)} of {len(attention.layers)}"


def rotaries_of(model: nn.Module) -> tuple[Rotary, ...]:
    """Return the numbers of all layers of a patched model, each once."""
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    return attention.rotaries


@contextmanager
def sequence_lengths(model: nn.Module, lengths: Tensor) -> Iterator[None]:
    """Tell a patched model how long each row's whole sequence will be, for a base "per_sequence".

    Args:
        model: a model inside `patched`.
        lengths: int64 ``[B]``.
    """
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    before, attention.lengths = attention.lengths, lengths
    try:
        yield
    finally:
        attention.lengths = before
