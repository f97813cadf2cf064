"""The attention function: unrotated keys in the cache, each query with its own base.

Shape letters: B batch, N heads, Q queries, K keys, H head_dim, F pairs. A *slot* is a place in the
batch's rows, padding included; a *position* is a token's own, counted from the row's first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rope_eval.backends.kernels import causal_attention, masked_attention
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import Rotary, octave, octave_alpha, rotate, scale_pairs

NAME = "rope_eval"  # in transformers' attention and mask interfaces
ATTRIBUTE = "_rope_eval"  # where a patched module holds its RopeAttention
PACKED = (
    "position_ids must count up by one in each row: packed sequences are not supported; give each "
    "document a row of its own"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Queries that share one base (and one centre of xPos), and the tables to rotate them with."""

    queries: slice  # slots among the queries
    keys: int  # how many of the keys they may see
    q_table: tuple[Tensor, Tensor]  # cos and sin, float32 [… Q F]
    k_table: tuple[Tensor, Tensor]
    q_scale: Tensor | None  # float32 [… Q H]
    q_xpos: Tensor | None  # float32 [… Q F]
    k_xpos: Tensor | None
    rows: Tensor | None = None  # a padded batch: which rows have such queries,
    chosen: Tensor | None = None  # which of their queries are such, bool [B 1 Q 1],
    mask: Tensor | None = None  # and what each may see, bool [B 1 Q K]


class RopeAttention:
    """The attention of one patched model.

    Attributes:
        lengths: for "per_sequence" dynamic NTK: the length of each row's whole sequence, where
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
            q = query[rows, :, span.queries]
            k, v = key[rows, :, : span.keys], value[rows, :, : span.keys]
            if span.q_scale is not None:
                q = (q * span.q_scale).to(query.dtype)
            q = rotate(q, *span.q_table)
            if not self.keys_are_rotated:
                k = rotate(k, *span.k_table)
            if span.q_xpos is not None and span.k_xpos is not None:
                q, k = scale_pairs(q, span.q_xpos), scale_pairs(k, span.k_xpos)
            if span.mask is None or span.chosen is None:
                out[:, :, span.queries] = causal_attention(q, k, v, scale)
            else:
                attended = masked_attention(q, k, v, span.mask, scale)
                kept = out[rows, :, span.queries]
                out[rows, :, span.queries] = torch.where(span.chosen, attended, kept)
        return out

    # ---- the plan of one forward pass, the same for all its layers -----------------------------

    def _spans(self, position_ids: Tensor, padding: Tensor | None, Q: int, K: int) -> list[Span]:
        asked = (position_ids, padding, Q, K, self.lengths)
        if not _same(asked, self._planned):
            with torch.inference_mode(False):
                self._plan = list(self._make_spans(position_ids, padding, Q, K))
            self._planned = asked
        return self._plan

    def forget(self) -> None:
        """Let go of the last forward pass's tables."""
        self._planned, self._plan = (), []

    def _make_spans(
        self, position_ids: Tensor, padding: Tensor | None, Q: int, K: int
    ) -> Iterator[Span]:
        if padding is None:
            q_positions = position_ids
            if Q > 1 and bool((q_positions.diff(dim=-1) != 1).any()):
                raise UnsupportedModelError(PACKED)
            k_positions = q_positions[:, -1:] - (K - 1) + torch.arange(K, device=q_positions.device)
            if bool((k_positions[:, 0] < 0).any()):
                raise UnsupportedModelError(
                    f"position_ids end at {int(q_positions[:, -1].min())} but there are {K} keys: "
                    "left-padded rows need an attention_mask"
                )
        else:
            packed = (
                (position_ids.diff(dim=-1) != 1) & padding[:, -Q:][:, 1:] & padding[:, -Q:][:, :-1]
            )
            if bool(packed.any()):
                raise UnsupportedModelError(PACKED)
            k_positions = (padding.cumsum(-1) - 1).clamp(min=0)
            q_positions = k_positions[:, -Q:]
        one_length = self.lengths is None or bool((self.lengths == self.lengths[0]).all())
        if padding is None and one_length and bool((q_positions == q_positions[:1]).all()):
            yield from self._uniform_spans(int(q_positions[0, 0]), Q, K, q_positions.device)
        else:
            yield from self._ragged_spans(q_positions, k_positions, padding)

    def _uniform_spans(self, first: int, Q: int, K: int, device: torch.device) -> Iterator[Span]:
        """All rows alike: positions are first … first + Q − 1, and slices do."""
        rotary = self.rotary
        whole = int(self.lengths[0]) if self.lengths is not None else first + Q
        first_key = first + Q - K
        start = 0
        while start < Q:
            per_query = rotary.spec.dynamic_ntk == "per_query"
            alpha = rotary.alpha(first + start + 1 if per_query else whole)
            stop = int(
                min(Q, start + rotary.longest_block, rotary.alpha_end(first + start + 1) - first)
            )
            positions = torch.arange(first_key, first + stop, device=device)
            cos, sin = (x[first_key:] for x in rotary.table(alpha, first + stop, device))
            own = slice(K - Q + start, None)
            yield self._span(
                slice(start, stop),
                K - Q + stop,
                positions[own],
                positions,
                (cos[own], sin[own]),
                (cos, sin),
            )
            start = stop

    def _ragged_spans(
        self, q_positions: Tensor, k_positions: Tensor, padding: Tensor | None
    ) -> Iterator[Span]:
        """Rows that differ: for each base, the rows and slots that have it, under a mask."""
        Q, K = q_positions.shape[1], k_positions.shape[1]
        device = q_positions.device
        real = padding if padding is not None else torch.ones_like(k_positions, dtype=torch.bool)
        B = max(len(real), len(q_positions), 1 if self.lengths is None else len(self.lengths))
        q_positions, k_positions, real = (x.expand(B, -1) for x in (q_positions, k_positions, real))
        length = int(k_positions.max()) + 1
        for alpha, chosen in self._by_alpha(q_positions, k_positions).items():
            cos, sin = self.rotary.table(alpha, length, device)
            slots = chosen.any(0).nonzero()[:, 0]
            start, end = int(slots[0]), int(slots[-1]) + 1
            while start < end:
                stop = int(min(end, start + self.rotary.longest_block))
                queries, keys = slice(start, stop), K - Q + stop
                rows = chosen[:, queries].any(1).nonzero()[:, 0]
                slot = torch.arange(keys, device=device)
                seen = slot <= slot[keys - (stop - start) :, None]
                own = slot == slot[keys - (stop - start) :, None]  # no row of all False for padding
                if len(rows):
                    q, k = q_positions[rows, queries], k_positions[rows, :keys]
                    yield self._span(
                        queries,
                        keys,
                        q,
                        k,
                        (cos[q], sin[q]),
                        (cos[k], sin[k]),
                        rows=rows,
                        chosen=chosen[rows, None, queries, None],
                        mask=(real[rows, None, None, :keys] & seen) | own,
                    )
                start = stop

    def _by_alpha(self, q_positions: Tensor, k_positions: Tensor) -> dict[float, Tensor]:
        """Return, for each base in use, which queries have it: bool ``[B, Q]``."""
        spec = self.rotary.spec
        if spec.dynamic_ntk == "per_query":
            octaves = octave(q_positions + 1, self.rotary.reference_length)
            return {octave_alpha(k): octaves == k for k in octaves.unique().tolist()}
        if spec.dynamic_ntk == "per_sequence":
            lengths = self.lengths if self.lengths is not None else k_positions.amax(-1) + 1
            beams = len(q_positions) // len(lengths)
            alphas = [self.rotary.alpha(n) for n in lengths.repeat_interleave(beams).tolist()]
            of_row = torch.tensor(alphas, device=q_positions.device, dtype=torch.float64)
            return {a: (of_row == a)[:, None].expand_as(q_positions) for a in set(alphas)}
        return {1.0: torch.ones_like(q_positions, dtype=torch.bool)}

    def _span(
        self,
        queries: slice,
        keys: int,
        q_positions: Tensor,
        k_positions: Tensor,
        q_table: tuple[Tensor, Tensor],
        k_table: tuple[Tensor, Tensor],
        **ragged: Tensor,
    ) -> Span:
        rotary = self.rotary
        q_xpos = k_xpos = None
        if rotary.spec.xpos:
            centre = q_positions[..., q_positions.shape[-1] // 2, None]
            q_xpos = _heads(rotary.xpos_scale(q_positions - centre))
            k_xpos = _heads(rotary.xpos_scale(centre - k_positions))
        return Span(
            queries=queries,
            keys=keys,
            q_table=(_heads(q_table[0]), _heads(q_table[1])),
            k_table=(_heads(k_table[0]), _heads(k_table[1])),
            q_scale=_heads(rotary.query_scale(q_positions)) if rotary.scales_queries else None,
            q_xpos=q_xpos,
            k_xpos=k_xpos,
            **ragged,
        )


def _heads(table: Tensor) -> Tensor:
    """Put a dimension for the heads into ``[…, T, F]``."""
    return table.unsqueeze(-3)


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
    """Tell a patched model how long each row's whole sequence will be, for "per_sequence".

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
