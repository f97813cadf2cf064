"""What a model does with positions, as a value: no list of families (`probe` learns it)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from rope_eval.backends.hf.layers import Layer, Pattern, Table
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.by_layer import ByLayer
from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.spec import RopeSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """How a causal language model turns its queries and keys, and what scoring needs to run it.

    Attributes:
        tables: its tables of angles.
        layers: its attention layers, in the order in which they run.
        patterns: every pattern that it makes a mask of, for a layer or for none.
        base: the name of the model in it that has everything but the head.
        blocks: the name of the list of its decoder layers.
        outputs: of each decoder layer, which elements of the tuple that it returns are something;
            None where it returns hidden states alone.
        returns: the type of what its base model returns.
        cache: the type of cache that it makes for itself, None where it makes none.
        keeps_state: whether a decoder layer keeps more of a text than keys and values.
        shares_keys: whether a layer attends with keys of another.
        misfit: how far our attention was from the model's own on a few tokens, in the layer where
            it was furthest: the largest difference of an output, of the largest output.
    """

    tables: tuple[Table, ...]
    layers: tuple[Layer, ...]
    patterns: tuple[Pattern, ...]
    base: str
    blocks: str
    outputs: tuple[tuple[bool, ...] | None, ...]
    returns: type
    cache: type | None
    keeps_state: bool
    shares_keys: bool
    misfit: float

    def unscaled(self) -> Anatomy:
        """Return the anatomy with no rope_type that a config asks for: as a short text finds it."""
        tables = (
            replace(table, geometry=replace(table.geometry, rope_type="default"))
            for table in self.tables
        )
        return replace(self, tables=tuple(tables))

    def by_layer(self, spec: RopeSpec) -> ByLayer:
        """Return which layers take a setting, as places in `layers`, and what of it."""
        return ByLayer(
            spec,
            count=len(self.outputs),
            numbers=[layer.block for layer in self.layers],
            rotates=[layer.table is not None for layer in self.layers],
            sees_all=[layer.pattern.is_full for layer in self.layers],
        )

    @property
    def geometry(self) -> RotaryGeometry:
        """The model's own rotary embedding: that of the layers that take a setting."""
        table = self.layers[min(self.by_layer(RopeSpec()).taking)].table
        assert table is not None
        return self.tables[table].geometry


def without_adapter(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model that a PEFT adapter is wrapped around, the adapter's layers in it.

    Raises:
        UnsupportedModelError: for an adapter that is no change of weights.
    """
    adapter = getattr(model, "active_peft_config", None)
    if getattr(adapter, "is_prompt_learning", False):
        raise UnsupportedModelError(
            f"the adapter {type(adapter).__name__.removesuffix('Config')} puts tokens or keys of "
            "its own before every text: only adapters that change weights are supported, as LoRA"
        )
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner
