"""The attention of one layer of a patched model, planned once a forward pass.

Shape letters: B batch, N heads, M key-value heads, Q queries, K keys, H head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rope_eval.backends.hf.forward_pass import ForwardPass
from rope_eval.backends.hf.held import held_attention, step_attention
from rope_eval.backends.hf.kernels import (
    Scores,
    causal_attention,
    masked_attention,
    wants_gradients,
)
from rope_eval.backends.hf.layers import Layer, Pattern
from rope_eval.backends.hf.mapped import Piece, pieces
from rope_eval.backends.hf.merged import merged_attention
from rope_eval.backends.hf.overrides import weights_of
from rope_eval.backends.hf.rooms import room_of
from rope_eval.backends.hf.spans import Span, spans
from rope_eval.backends.hf.step_plan import step
from rope_eval.backends.hf.steps import Step
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import Rotary, rotate, rotate_side_by_side, scale_pairs, side_by_side


class Plan:
    """What the layers that share a rotary and a pattern do, planned once a forward pass."""

    def __init__(self, rotary: Rotary, pattern: Pattern):
        self.rotary, self.pattern = rotary, pattern
        self._planned: tuple[Any, ...] = ()
        self._spans: list[Span | Piece] = []
        self._stepped: tuple[Any, ...] = ()
        self._step: Step | None = None

    def step(
        self, positions: Tensor, places: Tensor | None, lengths: Tensor | None, B: int, K: int
    ) -> Step | None:
        """Do what `step` does, or return what it returned for the same."""
        asked = (positions, places, lengths, B, K)
        if not _same(asked, self._stepped):
            with torch.inference_mode(False):
                self._step = step(self.rotary, self.pattern, *asked)
            self._stepped = asked
        return self._step

    def spans(
        self,
        positions: Tensor,
        places: Tensor | None,
        lengths: Tensor | None,
        Q: int,
        K: int,
        chunk: tuple[int, int] | None,
    ) -> list[Span | Piece]:
        """Return the spans, or under a position map its pieces; those planned last for the same."""
        asked = (positions, places, Q, K, lengths)
        if not _same(asked, self._planned):
            rotary = self.rotary
            with torch.inference_mode(False):
                if rotary.position_map is not None and rotary.position_map.exact < K:
                    made: Iterator[Span | Piece] = pieces(rotary, positions, places, lengths, Q, K)
                else:
                    made = spans(rotary, self.pattern, positions, places, lengths, Q, K, chunk)
                self._spans = list(made)
            self._planned = asked
        return self._spans

    def forget(self) -> None:
        """Let go of what was planned."""
        self._planned, self._spans = (), []
        self._stepped, self._step = (), None


class LayerAttention:
    """The attention of one layer of a patched model.

    Attributes:
        model: the forward pass that the whole model is in.
        layer: what is known of the layer.
        rotary: the numbers that it turns by.
        norms: the modules that normalise queries and keys after they turned, if there are such:
            their weights are left to it.
    """

    def __init__(self, model: ForwardPass, layer: Layer, plan: Plan):
        self.model, self.layer = model, layer
        self.rotary = plan.rotary
        self.norms: tuple[nn.Module, ...] = ()
        self._plan = plan

    @property
    def number(self) -> int | None:
        """By which number it asks a cache."""
        return self.layer.number

    @property
    def keys_are_rotated(self) -> bool:
        """Whether the keys that reach it are rotated, in the order of `Layout.canonical`."""
        return self.model.keys_are_rotated and self.layer.caches_keys

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, places: Tensor | None, scores: Scores
    ) -> Tensor:
        """Return attention's output ``[B, N, Q, V]``.

        Args:
            query: unrotated, ``[B, N, Q, H]``.
            key: unrotated (but see `keys_are_rotated`), ``[B, M, K, H]``, past ones first.
            value: ``[B, M, K, V]``.
            places: where the keys are, as `spans` takes it.
            scores: what becomes of the products.
        """
        if query.shape[2] == 1 and not wants_gradients(query, key, value):
            found = self._attend_one(query, key, value, places, scores)
            if found is not None:
                return found
        out = query.new_zeros(*query.shape[:3], value.shape[3])
        for span in self.spans(places, query.shape[2], key.shape[2], query.device):
            if isinstance(span, Piece):
                self._attend_mapped(span, query, key, value, scores, out)
                continue
            rows = slice(None) if span.rows is None else span.rows
            v = value[rows, :, span.keys]
            q, k = self.rotated(span, query[rows, :, span.queries], key[rows, :, span.keys])
            if span.mask is None or span.chosen is None:
                window = self.layer.pattern.window
                out[:, :, span.queries] = causal_attention(q, k, v, scores, window)
            else:
                attended = masked_attention(q, k, v, scores, span.mask)
                kept = out[rows, :, span.queries]
                out[rows, :, span.queries] = torch.where(span.chosen, attended, kept)
        return out

    def _attend_one(
        self, query: Tensor, key: Tensor, value: Tensor, places: Tensor | None, scores: Scores
    ) -> Tensor | None:
        """Attend from one query a row to keys that stay turned; None where none are at hand."""
        layout, room = self.layer.layout, room_of(key)
        if layout is not None and (room is None or key.shape[3] % 2):  # half a pair
            return None
        positions = self._positions(1, key.shape[2], places, query.device)
        step = self._plan.step(positions, places, self.model.lengths, len(key), key.shape[2])
        if step is None:
            return None
        seen = slice(step.first_slot, None)
        query = self._scaled(query, step.q_scale)
        if layout is None or room is None:
            return step_attention(query, key[:, :, seen], value[:, :, seen], scores, step.mask)
        query = rotate_side_by_side(query, step.q_table)
        for norm in self.norms:
            query = query * side_by_side(layout.canonical(weights_of(norm)), layout.pairs)
        key, value = room.turned(layout, step), value[:, :, seen]
        if step.anew or query.shape[2] > 1:
            return held_attention(step.meetings(query, key), value, scores, step.mask)
        return step_attention(query, key[:, :, seen], value, scores, step.mask)

    def _attend_mapped(
        self, piece: Piece, query: Tensor, key: Tensor, value: Tensor, scores: Scores, out: Tensor
    ) -> None:
        """Write what a piece's queries attend to under a position map into its places."""
        layout = self.layer.layout
        assert layout is not None, "a layer that takes a setting rotates"
        q, k, v = query[piece.rows], key[piece.rows], value[piece.rows]
        if piece.slots is not None:
            q, (k, v) = q[:, :, piece.queries], (x[:, :, piece.slots] for x in (k, v))
        else:
            q, (k, v) = q[:, :, piece.queries], (x[:, :, : piece.stop] for x in (k, v))
        q, k = layout.canonical(q), layout.canonical(k)
        if piece.q_scale is not None:
            q = (q * piece.q_scale).to(q.dtype)
        queries = [rotate(q, *table) for table in piece.q_tables]
        keys = [rotate(k, *table) for table in piece.k_tables]
        if piece.regions is None:
            attended = causal_attention(queries[0], keys[0], v, scores)
        else:
            attended = merged_attention(queries, keys, v, scores, piece.regions, piece.start)
        out[piece.rows, :, piece.queries] = attended

    def rotated(self, span: Span, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return a span's queries and keys as they meet in the score, in the shapes they came.

        Args:
            span: which it is.
            query: its queries, unrotated.
            key: the keys that they see, unrotated (but see `keys_are_rotated`).
        """
        query = self._scaled(query, span.q_scale)
        layout = self.layer.layout
        if layout is None:
            return query, key
        query = rotate(query, *span.q_table)
        for norm in self.norms:
            query = query * layout.canonical(weights_of(norm))
        if self.keys_are_rotated:  # of a text whose pairs are not scaled
            return query, key
        room = None if self.model.workspace is None else self.model.workspace.like(key)
        if room is None:
            key = rotate(layout.canonical(key), *span.k_table)
        else:
            key = layout.turn_to(room, key, *span.k_table)
        if span.q_pairs is not None and span.k_pairs is not None:
            query, key = scale_pairs(query, span.q_pairs), scale_pairs(key, span.k_pairs, out=room)
        return query, key

    def _scaled(self, query: Tensor, scale: Tensor | None) -> Tensor:
        """Return queries with their pairs in order, scaled."""
        if self.layer.layout is not None:
            query = self.layer.layout.canonical(query)
        return query if scale is None else (query * scale).to(query.dtype)

    def spans(
        self, places: Tensor | None, Q: int, K: int, device: torch.device
    ) -> list[Span | Piece]:
        """Return the spans of Q queries at the end of K keys, with tables on a device."""
        positions = self._positions(Q, K, places, device)
        chunk = self.model.chunk if positions is self.model.positions_on(device) else None
        return self._plan.spans(positions, places, self.model.lengths, Q, K, chunk)

    def _positions(self, Q: int, K: int, places: Tensor | None, device: torch.device) -> Tensor:
        positions = self.model.positions_on(device)
        if positions.shape[1] > Q:  # a layer that a prompt's last token alone goes through
            positions = positions[:, -Q:]
        if places is not None and places.shape[1] != K:
            raise UnsupportedModelError(
                f"a mask of {places.shape[1]} columns reached {K} keys in {self.layer.module}"
            )
        return positions


def _same(asked: tuple[Any, ...], planned: tuple[Any, ...]) -> bool:
    return len(asked) == len(planned) and all(
        a is b or (isinstance(a, int) and a == b) for a, b in zip(asked, planned, strict=True)
    )
