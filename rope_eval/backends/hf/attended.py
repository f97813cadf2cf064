"""Our attention against the modelling file's own, layer by layer, on what reached both."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from rope_eval.backends.hf.attention import RopeAttention, scores_of
from rope_eval.backends.hf.compat import at_hand
from rope_eval.backends.hf.recording import Call, Recorded

EAGER = "eager_attention_forward"


def differences(
    attention: RopeAttention, still: Recorded, stock: Recorded, names: dict[Any, str]
) -> dict[str, float]:
    """Return how far each layer's output is from stock's, of the largest element.

    Args:
        attention: ours, neutral.
        still: what reached it where nothing turned.
        stock: the same where the model's own tables turned.
        names: of the modules.

    Returns:
        By the name of the attention module; one whose file has no attention of its own is left out.
    """
    layers = {layer.layer.module: layer for layer in attention.layers}
    found: dict[str, float] = {}
    for ours, theirs in zip(still.calls, stock.calls, strict=True):
        name = names[ours.module]
        eager = getattr(sys.modules[type(ours.module).__module__], EAGER, None)
        if eager is None or theirs.mask is None:
            continue
        T = ours.query.shape[2]
        attention.begin(torch.arange(T, device=ours.query.device)[None])
        out = layers[name].attend(
            ours.query, ours.key, ours.value, None, scores_of(ours.query, ours.keywords)
        )
        mask = _dense(stock.masks[theirs.mask], theirs)
        keywords = {"scaling": ours.query.shape[-1] ** -0.5, **theirs.keywords}
        reached = theirs.query, theirs.key, theirs.value, mask
        with at_hand(theirs.module):
            expected = eager(theirs.module, *reached, **keywords)[0]
        distance = (out.transpose(1, 2) - expected).abs().max() / expected.abs().max()
        found[name] = max(found.get(name, 0.0), float(distance))
    attention.forget()
    return found


def _dense(function: Any, call: Call) -> Tensor:
    """Return what a mask function says, as an additive mask ``[1, 1, Q, K]``."""
    place = torch.arange(call.query.shape[2], device=call.query.device)
    zero = torch.zeros((), dtype=torch.int64, device=place.device)
    seen = torch.as_tensor(function(zero, zero, place[:, None], place[None]))
    seen = seen.expand(len(place), len(place))
    mask = torch.zeros(seen.shape, dtype=call.query.dtype, device=place.device)
    return mask.masked_fill(~seen, torch.finfo(mask.dtype).min)[None, None]
