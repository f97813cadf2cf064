"""Putting our rotary embedding into the model that vLLM built, layer by layer, proven by a probe.

No list of families: an attention layer is a module that has vLLM's `Attention` and a rotary
embedding of vLLM's. Its table must be the one that the config says, its window the one that the
config says, and a few tokens through it must show that what attends is what our embedding made,
unchanged. Layers that do not take the setting have our embedding too, with the checkpoint's own
table: it has a row for every position, and theirs may not.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from rope_eval.backends.vllm.geometry import config_geometry
from rope_eval.backends.vllm.learnt import LearntRotary, Turning, learn
from rope_eval.backends.vllm.serving import rotary_of_config
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.by_layer import NEUTRAL, ByLayer
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

TOKENS = 4
NEAR = {torch.float32: 1e-4, torch.float64: 1e-4}  # of a frequency
NEAR_COARSE = 2e-2  # bfloat16 rounds a cosine and a sine by 4e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """An attention layer: its module, the attribute that is its rotary embedding, and the rest."""

    name: str
    module: nn.Module
    rotary: str | None
    attention: Any

    @property
    def stock(self) -> Any:
        return None if self.rotary is None else getattr(self.module, self.rotary)


def put_rotary(model: nn.Module, vllm_config: Any, spec: RopeSpec) -> None:
    """Put a setting on a model that vLLM has loaded.

    Raises:
        UnsupportedModelError: by name, for a model the mechanism does not fit.
        SpecError: for a setting that does not fit its layers.
    """
    from rope_eval.backends.vllm.rotary import SpecRotary

    config = vllm_config.model_config.hf_config
    probe = _Probe(model, vllm_config.model_config)
    if vllm_config.model_config.using_transformers_backend():
        learn(model, config, probe.hidden)
    layers = _layers(model)
    _check_windows(model, layers, config)
    types = getattr(config, "layer_types", None) or [None] * len(layers)
    made: dict[tuple[int, str | None, bool, bool, RopeSpec], SpecRotary] = {}

    def ours(
        place: int, part: RopeSpec = NEUTRAL, *, takes: bool = False, still: bool = False
    ) -> SpecRotary:
        stock, kind = stocks[place], types[place]
        key = id(stock), kind, takes, still, part
        if key not in made:
            geometry = config_geometry(config, kind)
            rotary = Rotary(part, geometry.still() if still else geometry)
            if not takes:
                _check_table(model, stock, rotary)
            made[key] = SpecRotary.of(
                rotary,
                vllm_config,
                interleaved=not stock.is_neox_style,
                takes=spec if takes else None,
            )
        return made[key]

    stocks = {i: layer.stock for i, layer in enumerate(layers) if layer.rotary is not None}
    for place in stocks:
        setattr(layers[place].module, str(layers[place].rotary), ours(place))
    probe.stocks = list(stocks.values())
    turning = {place for place in stocks if probe.turns(layers[place])}
    if not turning:
        raise _refused(model, "has no layer that turns its queries and keys")
    by_layer = ByLayer(
        spec,
        count=len(layers),
        numbers=range(len(layers)),
        rotates=[place in turning for place in range(len(layers))],
        sees_all=[layer.attention.sliding_window is None for layer in layers],
    )
    if any(not by_layer.part(place).is_neutral for place in by_layer.still - by_layer.kept):
        raise _refused(model, "has layers without rotation, which would take a part of it")
    rotating = []
    for place, stock in stocks.items():
        put = stock
        if place in turning:
            takes, still = place in by_layer.taking, place in by_layer.kept
            put = ours(place, by_layer.part(place), takes=takes, still=still)
            rotating += [put] if takes and not still else []
        setattr(layers[place].module, str(layers[place].rotary), put)
    _check_alike(model, rotating, vllm_config, spec)


def find_rotaries(model: nn.Module) -> list[Any]:
    """Return the `SpecRotary` of layers that take the setting: none without a RopeSpec."""
    from rope_eval.backends.vllm.rotary import SpecRotary

    return [m for m in model.modules() if isinstance(m, SpecRotary) and m.takes is not None]


def count_layers(model: nn.Module) -> tuple[int, int]:
    """Return how many layers take the setting, and how many turn at all."""
    from rope_eval.backends.vllm.rotary import SpecRotary

    put = [m for m in (layer.stock for layer in _layers(model)) if isinstance(m, SpecRotary)]
    return sum(m.takes is not None for m in put), len(put)


def _refused(model: nn.Module, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"vLLM's {type(model).__name__} {why}, so the RopeSpec would not be applied as asked: use "
        "the Hugging Face backend (backend=hf)"
    )


def _layers(model: nn.Module) -> list[_Layer]:
    """Return a model's attention layers, in the order in which they are in it."""
    from vllm.model_executor.layers.attention import Attention
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbeddingBase

    from rope_eval.backends.vllm.rotary import SpecRotary

    kinds = (RotaryEmbeddingBase, LearntRotary, SpecRotary)
    layers, held, other = [], set(), set()
    for name, module in model.named_modules():
        children = dict(module.named_children())
        attends = [m for m in children.values() if isinstance(m, AttentionLayerBase)]
        turns = [n for n, m in children.items() if isinstance(m, kinds)]
        other |= {type(m).__name__ for m in attends if type(m) is not Attention}
        if len(attends) == 1 and len(turns) <= 1:
            rotary = turns[0] if turns else None
            layers.append(_Layer(name=name, module=module, rotary=rotary, attention=attends[0]))
            held |= {id(children[n]) for n in turns}
        elif attends or turns:
            raise _refused(model, f"has a layer ({name}) of {len(attends)} attentions")
    if other:
        raise _refused(model, f"attends by {', '.join(sorted(other))}")
    if not held:
        raise _refused(model, "has no rotary embedding of vLLM's own in its attention layers")
    if any(isinstance(m, RotaryEmbeddingBase) and id(m) not in held for m in model.modules()):
        raise _refused(model, "has a rotary embedding outside its attention layers")
    return layers


def _check_windows(model: nn.Module, layers: list[_Layer], config: Any) -> None:
    """Refuse a model whose windows are not those of the checkpoint, or that shares keys."""
    if any(layer.attention.kv_sharing_target_layer_name is not None for layer in layers):
        raise _refused(model, "attends with keys of another layer")
    types = getattr(config, "layer_types", None)
    if types is None:
        return
    window = getattr(config, "sliding_window", None)
    said = [window if kind == "sliding_attention" else None for kind in types]
    found = [layer.attention.sliding_window for layer in layers]
    if said != found:
        raise _refused(model, f"has windows of {found} tokens, and its config says {said}")


def _check_table(model: nn.Module, stock: Any, rotary: Rotary) -> None:
    """Refuse a layer that vLLM gave another table than the config says."""
    geometry = rotary.geometry
    if (stock.head_size, stock.rotary_dim) != (geometry.head_dim, geometry.rotary_dim):
        raise _refused(
            model,
            f"rotates {stock.rotary_dim} of {stock.head_size} dimensions, and its config says "
            f"{geometry.rotary_dim} of {geometry.head_dim}",
        )
    table = getattr(stock, "cos_sin_cache", None)
    if not isinstance(table, Tensor) or table.ndim != 2 or table.shape[1] != geometry.rotary_dim:
        raise _refused(model, f"has a rotary embedding without a table ({type(stock).__name__})")
    cos, sin = table[:2].double().cpu().chunk(2, dim=-1)
    near = NEAR.get(table.dtype, NEAR_COARSE)
    factor = torch.full_like(cos[0], rotary.attention_factor())
    if not (
        torch.allclose(torch.atan2(sin[1], cos[1]), rotary.inv_freq(), rtol=near, atol=1e-12)
        and torch.allclose(cos[0], factor, rtol=near)
    ):
        raise _refused(
            model,
            f"turns by another table ({type(stock).__name__}) than its config says",
        )


class _Probe:
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

    def turns(self, layer: _Layer) -> bool:
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
            raise _refused(
                self.model,
                f"has a layer ({layer.name}) that turns {len(made)} times by its rotary embedding, "
                f"and attends {len(attended)} times",
            )
        positions, *turned = made[0]
        if not torch.equal(positions, self.positions) or not all(map(_same, turned, attended[0])):
            raise _refused(
                self.model, f"changes queries or keys after they turned (in {layer.name})"
            )
        return True

    def _run(
        self, layer: _Layer, positions: Tensor
    ) -> tuple[list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
        """Return what went into and out of our embedding, and the queries and keys that attend."""
        made: list[tuple[Tensor, ...]] = []
        attended: list[tuple[Tensor, ...]] = []
        rotate = layer.stock.forward

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
            stack.enter_context(patch.object(layer.stock, "forward", turn))
            stack.enter_context(patch.object(layer.attention, "forward", attend))
            try:
                if isinstance(layer.module, Turning):
                    layer.module.probe(positions, self.hidden)
                else:
                    layer.module(positions=positions, hidden_states=self.hidden)
            except Exception as error:  # a layer is any code
                why = f"has a layer ({layer.name}) that a probe cannot run ({error})"
                raise _refused(self.model, why) from error
        return made, attended


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.reshape(TOKENS, -1), other.reshape(TOKENS, -1))


def _check_alike(model: nn.Module, put: list[Any], vllm_config: Any, spec: RopeSpec) -> None:
    """Refuse layers whose base changes at other lengths than the front end thinks."""
    from rope_eval.backends.vllm.rotary import Layout

    asked = rotary_of_config(vllm_config, spec)
    layout = Layout.of(asked, vllm_config.model_config.max_model_len)
    if any(one.tables.layout != layout for one in put):
        raise SpecError(
            f"{spec} changes the base of some layers at other lengths than that of others, which "
            "vLLM does not serve: use the Hugging Face backend (backend=hf)"
        )
    if spec.layers == "full" and any(
        one.rotary.geometry.rope_theta != asked.geometry.rope_theta for one in put
    ):
        raise _refused(model, "has layers of several bases that would take it")
