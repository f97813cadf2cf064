"""What a model asks of a mask: its pattern, as data, and at run time where the padding is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import FunctionType
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
_KNOWN: dict[tuple[Any, ...], Pattern | None] = {}
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
    size = found.window or found.chunk or FAR
    queries = torch.tensor([0, size - 1, size, size + 1, 2 * size, FAR + _ODD, FAR + 2 * _ODD])
    fits = is_pattern(function, found, queries.unique(), torch.zeros(1, 1, dtype=torch.int64))
    return found if last == FAR + _ODD and bool(torch.as_tensor(fits).all()) else None


def _written(function: object) -> tuple[Any, ...] | None:
    """Return what a mask function is made of, if it is no more than code and numbers.

    Two that are equal in it see the same keys: transformers makes them anew in every forward pass.
    """
    if not isinstance(function, FunctionType) or function.__defaults__ or function.__kwdefaults__:
        return None
    parts: list[Any] = [function.__module__, function.__code__]
    for cell in function.__closure__ or ():
        held = cell.cell_contents
        some = held if isinstance(held, tuple | list) else (held,)
        made = [one if isinstance(one, int) else _written(one) for one in some]
        if None in made:
            return None
        parts.append(tuple(made))
    return tuple(parts)


def _is_written(function: MaskFunction, pattern: Pattern) -> bool:
    """Whether a mask function that was asked before is known to be a pattern of all texts."""
    if pattern.chunk is not None:  # counted from the first token of each row
        return False
    written = _written(function)
    if written is None:
        return False
    if written not in _KNOWN:
        _KNOWN[written] = pattern_of(function)
    return _KNOWN[written] == pattern


def is_pattern(
    function: MaskFunction, pattern: Pattern, queries: Tensor, padding: Tensor
) -> Tensor | bool:
    """Tell for which queries a mask function is a pattern, about the borders that the pattern has.

    Args:
        function: of batch row, head, query and key.
        pattern: the pattern.
        queries: their slots, increasing, int64 ``[Q]``.
        padding: how many slots of each row come before its first token, int64 ``[B, 1]``: chunks
            are counted from there.

    Returns:
        bool ``[B, Q]``, or one for all.
    """
    if function is causal_mask_function:
        return pattern.is_full
    before = padding if pattern.chunk is not None else torch.zeros_like(padding)
    first = pattern.first_keys(queries - before) + before
    queries, last = queries.expand_as(first), int(queries[-1])
    keys = torch.cat((first - 1, first, queries, queries + 1), dim=1)
    first, asked = first.repeat(1, 4), queries.repeat(1, 4)
    rows = torch.arange(len(first), device=queries.device)[:, None]
    try:
        found = _ask(function, asked, keys.clamp(0, last), rows)
    except (IndexError, RuntimeError):
        return False
    expected = (first <= keys) & (keys <= asked)
    fits = (found == expected) | (keys < 0) | (keys > last)
    return fits.reshape(len(first), 4, -1).all(1)


def _ask(
    function: MaskFunction, queries: Tensor, keys: Tensor, rows: Tensor | None = None
) -> Tensor:
    zero = torch.zeros((), dtype=torch.int64, device=queries.device)
    found = function(zero if rows is None else rows, zero, queries, keys)
    return torch.as_tensor(found).expand_as(torch.broadcast_tensors(queries, keys)[1])


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
    shape = batch_size, 1, q_length, kv_length
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
    device = kwargs.get("device") if attention_mask is None else attention_mask.device
    queries = torch.arange(seen - q_length, seen, device=device)
    padding = torch.zeros(batch_size, 1, dtype=torch.int64, device=device)
    real: Tensor | bool = True
    counted: Tensor | None = None
    if attention_mask is not None and not bool(attention_mask.all()):
        counted = attention_mask.cumsum(-1)
        padding = (counted == 0).sum(-1, keepdim=True)
        real = attention_mask[:, -q_length:].bool()

    def fits(pattern: Pattern) -> bool:
        if _is_written(function, pattern):
            return True
        found = is_pattern(function, pattern, queries, padding)
        return found if isinstance(found, bool) else bool((found | ~torch.as_tensor(real)).all())

    others_first = sorted(PATTERNS.get(()), key=lambda pattern: pattern.is_full)
    pattern = next(filter(fits, others_first), None)
    if pattern is None:
        return _unfit(_ONLY_CAUSAL, shape, kwargs.get("device"))
    if kv_offset and pattern.is_full:
        return _unfit(_DROPPED, shape, kwargs.get("device"))
    if attention_mask is None or counted is None:
        return None
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
