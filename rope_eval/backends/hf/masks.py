"""What a model asks of a mask: its pattern, as data, and at run time where the padding is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import causal_mask_function

from rope_eval.backends.hf.layers import FULL, Pattern
from rope_eval.errors import UnsupportedModelError

MaskFunction = Callable[..., Any]

PATTERNS: ContextVar[tuple[Pattern, ...]] = ContextVar("patterns")
"""Of the patched model whose forward pass began last: each of its masks is to have one of them."""

FAR = 1 << 20  # a query so far on that every window is shorter
_ODD = 5
_ONLY_CAUSAL = (
    "only causal attention, windows and chunks are supported, and this model or call asks for "
    "another pattern (packed sequences, attention to both sides)"
)

_DROPPED = (
    "the cache has dropped tokens that this model's layers attend to: give it a DynamicCache() "
    "made without the model's config"
)
_WHY = (_ONLY_CAUSAL, _DROPPED)
_UNFIT = -(1 << 40)  # in a mask: the first of these reasons, and below it the others


def pattern_of(function: MaskFunction) -> Pattern | None:
    """Return which keys a mask function lets a query see, by asking it.

    Args:
        function: of batch row, head, query and key, as transformers gives it to a maker of masks.

    Returns:
        The pattern; None for another than causal, a window, or chunks.
    """
    if function is causal_mask_function:
        return FULL
    keys = torch.arange(FAR + 2 * _ODD)
    try:
        seen = _ask(function, torch.tensor(FAR + _ODD), keys).nonzero()[:, 0]
        before = _ask(function, keys[1:], keys[:-1])
    except (IndexError, RuntimeError):
        return None
    first, last = (int(seen[0]), int(seen[-1])) if len(seen) else (-1, -1)
    borders = (~before).nonzero()[:, 0] + 1  # queries that do not see the key before
    if first == 0:
        found = FULL
    elif len(borders) and len(borders) < len(before):
        found = Pattern(chunk=int(borders[0]))
    else:
        found = Pattern(window=FAR + _ODD - first + 1)
    return found if last == FAR + _ODD and is_pattern(function, found) else None


def is_pattern(function: MaskFunction, pattern: Pattern) -> bool:
    """Tell whether a mask function is a pattern, about the borders that the pattern has."""
    if function is causal_mask_function:
        return pattern.is_full
    size = pattern.window or pattern.chunk or FAR
    queries = torch.tensor([0, size - 1, size, size + 1, 2 * size, FAR + _ODD]).clamp(min=0)
    first = torch.tensor([pattern.first_key(int(q)) for q in queries])
    borders = torch.stack((first - 1, first, queries, queries + 1))
    expected = (borders >= first) & (borders <= queries)
    try:
        found = _ask(function, queries, borders.clamp(min=0))
    except (IndexError, RuntimeError):
        return False
    return bool((found == expected)[borders >= 0].all())


def _ask(function: MaskFunction, queries: Tensor, keys: Tensor) -> Tensor:
    zero = torch.tensor(0)
    return torch.as_tensor(function(zero, zero, queries, keys)).broadcast_to(
        torch.broadcast_shapes(queries.shape, keys.shape)
    )


def mask_function(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor | None:
    """Return where the keys are, int64 ``[B, 1, Q, K]``, or None where nothing is padded.

    What transformers calls for a mask. Each key has 1 + its position, counted from its row's first
    token, and padding the opposite of the last token's; all queries share a row of the tensor. The
    pattern is not in it: it is known of every layer.
    """
    kv_offset = int(kwargs.get("kv_offset", 0))
    function: MaskFunction = kwargs["mask_function"]
    pattern = next((some for some in PATTERNS.get(()) if is_pattern(function, some)), None)
    shape = batch_size, 1, q_length, kv_length
    if pattern is None:
        return _unfit(_ONLY_CAUSAL, shape, kwargs.get("device"))
    seen = int(q_offset) + q_length
    if attention_mask is not None and attention_mask.shape[-1] != seen:
        raise UnsupportedModelError(
            f"attention_mask has {attention_mask.shape[-1]} columns for {seen} tokens: give it for "
            "the cached tokens and the new ones"
        )
    if kv_offset + kv_length != seen:
        raise UnsupportedModelError(
            f"a cache of fixed size ({kv_length} slots for {seen} tokens) is not supported: leave "
            "cache_implementation at its default, the dynamic cache"
        )
    if kv_offset and pattern.is_full:
        return _unfit(_DROPPED, shape, kwargs.get("device"))
    if attention_mask is None or bool(attention_mask.all()):
        return None
    counted = attention_mask.cumsum(-1)
    places = torch.where(attention_mask.bool(), counted, -counted)[:, kv_offset:]
    return places[:, None, None, :].expand(-1, -1, q_length, -1)


def _unfit(why: str, shape: tuple[int, ...], device: Any) -> Tensor:
    """Return a mask that no layer may attend by; a model may make masks that none does."""
    return torch.full((1, 1, 1, 1), _UNFIT - _WHY.index(why), device=device).expand(shape)


def checked(mask: Tensor | None) -> Tensor | None:
    """Return what `mask_function` says of the keys, as it reached a layer: int64 ``[B, K]``.

    Raises:
        UnsupportedModelError: for a mask that is not ours, or that no layer may attend by.
    """
    if mask is None:
        return None
    if mask.dtype != torch.int64:
        raise UnsupportedModelError(
            f"a ready-made attention mask of {mask.ndim} dimensions is not supported: give the "
            "padding mask [batch, tokens]"
        )
    places = mask[:, 0, -1]
    if (unfit := _UNFIT - int(places[0, 0])) >= 0:
        raise UnsupportedModelError(_WHY[unfit])
    return places
