"""The attention function: unrotated keys in the cache, each query with its own base.

Shape letters: B batch, N heads, M key-value heads, Q queries, K keys, H head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rope_eval.backends.hf.kernels import causal_attention, masked_attention
from rope_eval.backends.hf.spans import Span, spans
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import Rotary, rotate, scale_pairs

NAME = "rope_eval"  # in transformers' attention and mask interfaces
ATTRIBUTE = "_rope_eval"  # where a patched module holds its RopeAttention


class RopeAttention:
    """The attention of one patched model.

    Attributes:
        lengths: for a base "per_sequence": the length of each row's whole sequence, where
            it is longer than what has been seen (generation, chunks), int64 ``[B]`` or None.
        keys_are_rotated: the cache hands out rotated keys (the scorer's does).
    """

    def __init__(self, rotary: Rotary):
        self.rotary = rotary
        self.lengths: Tensor | None = None
        self.keys_are_rotated = False
        self._planned: tuple[Any, ...] = ()
        self._plan: list[Span] = []

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        padding: Tensor | None,
        position_ids: Tensor,
        scale: float,
    ) -> Tensor:
        """Return attention's output ``[B, N, Q, H]``.

        Args:
            query: unrotated, ``[B, N, Q, H]``.
            key: unrotated (but see `keys_are_rotated`), ``[B, M, K, H]``, past ones first.
            value: as key.
            padding: bool ``[B, K]``, True where there is a token, or None.
            position_ids: of the queries, int64 ``[B or 1, Q]``; where there is padding the
                positions are counted from it instead.
            scale: the model's own softmax scale.
        """
        out = torch.empty_like(query)
        for span in self._spans(position_ids, padding, query.shape[2], key.shape[2]):
            rows = slice(None) if span.rows is None else span.rows
            v = value[rows, :, : span.keys]
            q, k = self.rotated(span, query[rows, :, span.queries], key[rows, :, : span.keys])
            if span.mask is None or span.chosen is None:
                out[:, :, span.queries] = causal_attention(q, k, v, scale)
            else:
                attended = masked_attention(q, k, v, span.mask, scale)
                kept = out[rows, :, span.queries]
                out[rows, :, span.queries] = torch.where(span.chosen, attended, kept)
        return out

    def rotated(self, span: Span, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return a span's queries and keys as they meet in the score, in the shapes they came.

        Args:
            span: which it is.
            query: its queries, unrotated.
            key: the keys that they see, unrotated (but see `keys_are_rotated`).
        """
        if span.q_scale is not None:
            query = (query * span.q_scale).to(query.dtype)
        query = rotate(query, *span.q_table)
        if not self.keys_are_rotated:
            key = rotate(key, *span.k_table)
        if span.q_pairs is not None and span.k_pairs is not None:
            query, key = scale_pairs(query, span.q_pairs), scale_pairs(key, span.k_pairs)
        return query, key

    def _spans(self, position_ids: Tensor, padding: Tensor | None, Q: int, K: int) -> list[Span]:
        asked = (position_ids, padding, Q, K, self.lengths)
        if not _same(asked, self._planned):
            with torch.inference_mode(False):
                self._plan = list(spans(self.rotary, position_ids, padding, self.lengths, Q, K))
            self._planned = asked
        return self._plan

    def forget(self) -> None:
        """Let go of the last forward pass's tables."""
        self._planned, self._plan = (), []


def _same(asked: tuple[Any, ...], planned: tuple[Any, ...]) -> bool:
    return len(asked) == len(planned) and all(
        a is b or (isinstance(a, int) and a == b) for a, b in zip(asked, planned, strict=True)
    )


def attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    position_ids: Tensor,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' attention interface asks; the output is ``[B, Q, N, H]``."""
    if dropout:
        raise UnsupportedModelError(
            f"attention dropout of {dropout:g} is not supported: call model.eval()"
        )
    if attention_mask is not None and attention_mask.ndim != 2:
        raise UnsupportedModelError(
            f"a ready-made attention mask of {attention_mask.ndim} dimensions is not supported: "
            "give the padding mask [batch, tokens]"
        )
    attention: RopeAttention = getattr(module, ATTRIBUTE)
    if module.layer_idx == 0:  # a new forward pass; its tensors may be old ones, changed in place
        attention.forget()
    out = attention.attend(query, key, value, attention_mask, position_ids, scaling)
    return out.transpose(1, 2).contiguous(), None


def mask_function(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor | None:
    """Return the padding mask, bool ``[B, K]``, or None where nothing is padded."""
    from transformers.masking_utils import causal_mask_function

    if kwargs.get("mask_function") is not causal_mask_function:
        raise UnsupportedModelError(
            "only plain causal attention is supported, and this model or call asks for another "
            "pattern (packed sequences, a sliding window, chunks)"
        )
    if attention_mask is not None and attention_mask.shape[-1] != int(q_offset) + q_length:
        raise UnsupportedModelError(
            f"attention_mask has {attention_mask.shape[-1]} columns for {int(q_offset) + q_length} "
            "tokens: give it for the cached tokens and the new ones"
        )
    if int(q_offset) + q_length != kv_length:
        raise UnsupportedModelError(
            f"a cache of fixed size ({kv_length} slots for {int(q_offset) + q_length} tokens) is "
            "not supported: leave cache_implementation at its default, the dynamic cache"
        )
    if attention_mask is None or bool(attention_mask.all()):
        return None
    return attention_mask


def rotary_of(model: nn.Module) -> Rotary:
    """Return the numbers a patched model is running with."""
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    return attention.rotary


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
