"""Putting our rotary embedding into the model that vLLM built, layer by layer, proven by a probe.

Of each attention layer the table and the window must be those that the config says, and a few
tokens through it must show that what attends is what our embedding made, unchanged. Layers that do
not take the setting have our embedding too, with the checkpoint's own table: it has a row for every
position, and theirs may not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rope_eval.backends.vllm.geometry import config_geometry
from rope_eval.backends.vllm.layers import Layer, layers_of, refused
from rope_eval.backends.vllm.learnt import learn
from rope_eval.backends.vllm.probe import Probe
from rope_eval.backends.vllm.rotary import SpecRotary
from rope_eval.backends.vllm.serving import rotary_of_config
from rope_eval.backends.vllm.tables import Layout
from rope_eval.errors import SpecError
from rope_eval.rope.by_layer import NEUTRAL, ByLayer
from rope_eval.rope.rotary import Rotary
from rope_eval.rope.spec import RopeSpec

NEAR = {torch.float32: 1e-4, torch.float64: 1e-4}  # of a frequency
NEAR_COARSE = 2e-2  # bfloat16 rounds a cosine and a sine by 4e-3


def put_rotary(model: nn.Module, vllm_config: Any, spec: RopeSpec) -> None:
    """Put a setting on a model that vLLM has loaded.

    Raises:
        UnsupportedModelError: by name, for a model the mechanism does not fit.
        SpecError: for a setting that does not fit its layers.
    """
    config = vllm_config.model_config.hf_config
    probe = Probe(model, vllm_config.model_config)
    if vllm_config.model_config.using_transformers_backend():
        learn(model, config, probe.hidden)
    layers = layers_of(model)
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

    stocks = {i: layer.embedding for i, layer in enumerate(layers) if layer.rotary is not None}
    for place in stocks:
        setattr(layers[place].module, str(layers[place].rotary), ours(place))
    probe.stocks = list(stocks.values())
    turning = {place for place in stocks if probe.turns(layers[place])}
    if not turning:
        raise refused(model, "has no layer that turns its queries and keys")
    by_layer = ByLayer(
        spec,
        count=len(layers),
        numbers=range(len(layers)),
        rotates=[place in turning for place in range(len(layers))],
        sees_all=[layer.attention.sliding_window is None for layer in layers],
    )
    if any(not by_layer.part(place).is_neutral for place in by_layer.still - by_layer.kept):
        raise refused(model, "has layers without rotation, which would take a part of it")
    rotating = []
    for place, stock in stocks.items():
        put = stock
        if place in turning:
            takes, still = place in by_layer.taking, place in by_layer.kept
            put = ours(place, by_layer.part(place), takes=takes, still=still)
            rotating += [put] if takes and not still else []
        setattr(layers[place].module, str(layers[place].rotary), put)
    _check_alike(model, rotating, vllm_config, spec)


def _check_windows(model: nn.Module, layers: list[Layer], config: Any) -> None:
    """Refuse a model whose windows are not those of the checkpoint, or that shares keys."""
    if any(layer.attention.kv_sharing_target_layer_name is not None for layer in layers):
        raise refused(model, "attends with keys of another layer")
    types = getattr(config, "layer_types", None)
    if types is None:
        return
    window = getattr(config, "sliding_window", None)
    said = [window if kind == "sliding_attention" else None for kind in types]
    found = [layer.attention.sliding_window for layer in layers]
    if said != found:
        raise refused(model, f"has windows of {found} tokens, and its config says {said}")


def _check_table(model: nn.Module, stock: Any, rotary: Rotary) -> None:
    """Refuse a layer that vLLM gave another table than the config says."""
    geometry = rotary.geometry
    if (stock.head_size, stock.rotary_dim) != (geometry.head_dim, geometry.rotary_dim):
        raise refused(
            model,
            f"rotates {stock.rotary_dim} of {stock.head_size} dimensions, and its config says "
            f"{geometry.rotary_dim} of {geometry.head_dim}",
        )
    table = getattr(stock, "cos_sin_cache", None)
    if not isinstance(table, Tensor) or table.ndim != 2 or table.shape[1] != geometry.rotary_dim:
        raise refused(model, f"has a rotary embedding without a table ({type(stock).__name__})")
    cos, sin = table[:2].double().cpu().chunk(2, dim=-1)
    near = NEAR.get(table.dtype, NEAR_COARSE)
    factor = torch.full_like(cos[0], rotary.attention_factor())
    if not (
        torch.allclose(torch.atan2(sin[1], cos[1]), rotary.inv_freq(), rtol=near, atol=1e-12)
        and torch.allclose(cos[0], factor, rtol=near)
    ):
        raise refused(
            model,
            f"turns by another table ({type(stock).__name__}) than its config says",
        )


def _check_alike(model: nn.Module, put: list[Any], vllm_config: Any, spec: RopeSpec) -> None:
    """Refuse layers whose base changes at other lengths than the front end thinks."""
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
        raise refused(model, "has layers of several bases that would take it")
