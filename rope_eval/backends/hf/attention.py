"""The attention function: unrotated keys in the cache, each query with its own base.

Shape letters: B batch, N heads, M key-value heads, Q queries, K keys, H head_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rope_eval.backends.config import geometry_under
from rope_eval.backends.hf.anatomy import Anatomy
from rope_eval.backends.hf.held import held_attention, step_attention
from rope_eval.backends.hf.kernels import (
    Scores,
    causal_attention,
    masked_attention,
    wants_gradients,
)
from rope_eval.backends.hf.layers import Layer, Pattern
from rope_eval.backends.hf.mapped import Piece, pieces
from rope_eval.backends.hf.masks import checked
from rope_eval.backends.hf.merged import merged_attention
from rope_eval.backends.hf.overrides import ATTRIBUTE, weights_of
from rope_eval.backends.hf.rooms import room_of
from rope_eval.backends.hf.spans import Span, spans
from rope_eval.backends.hf.steps import Step, step
from rope_eval.backends.hf.workspace import Workspace
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.rotary import Rotary, rotate, rotate_side_by_side, scale_pairs, side_by_side
from rope_eval.rope.spec import RopeSpec

NAME = "rope_eval"  # in transformers' attention and mask interfaces


class RopeAttention:
    """The attention of one patched model.

    Attributes:
        spec: the setting.
        anatomy: of the model.
        layers: the attention of each of its layers, as in the anatomy.
        taking: which of them take the setting.
        rotary: the setting on the layers that take it: what laws, lengths and tables speak of.
        lengths: for a base "per_sequence": the length of each row's whole sequence, where
            it is longer than what has been seen (generation, chunks), int64 ``[B]`` or None.
        positions: of the queries in this forward pass, int64 ``[B or 1, Q]``.
        chunk: the first of them and the length of the text, where that is known before.
        keys_are_rotated: the cache hands out rotated keys (the scorer's does).
        workspace: where keys are turned and scaled, all of a layer's before the next's; None
            where they become a tensor of their own.

    Raises:
        SpecError: where the setting has no sense for the model.
        UnsupportedModelError: where the model's own frequencies need another.
    """

    def __init__(self, spec: RopeSpec, anatomy: Anatomy):
        self.spec, self.anatomy = spec, anatomy
        by_layer = anatomy.by_layer(spec)
        self.taking = by_layer.taking
        made: dict[tuple[int | None, bool, RopeSpec], Rotary] = {}
        plans: dict[tuple[int | None, bool, RopeSpec, Pattern], _Plan] = {}
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
            plan = plans.setdefault((*key, layer.pattern), _Plan(made[key], layer.pattern))
            self.layers.append(LayerAttention(self, layer, plan))
        self.rotary = Rotary(spec, geometry_under(spec, anatomy.geometry))
        self.rotaries = tuple(made.values())
        self._plans = tuple(plans.values())
        self.lengths: Tensor | None = None
        self.positions: Tensor | None = None
        self.chunk: tuple[int, int] | None = None
        self._elsewhere: dict[torch.device, Tensor] = {}
        self.keys_are_rotated = False
        self.workspace: Workspace | None = None

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

    def begin(self, positions: Tensor, chunk: tuple[int, int] | None = None) -> None:
        """Begin a forward pass (or a chunk) at these positions: of a text if they are several.

        Args:
            positions: int64 ``[B or 1, Q]``.
            chunk: where they are those of one text from its first token to their last: the first
                of them, and the length of the text. A device is then not waited for.
        """
        self.positions = positions[0] if positions.ndim == 3 else positions
        self.chunk = chunk
        self._elsewhere.clear()

    def positions_on(self, device: torch.device) -> Tensor:
        """Return the positions where a layer computes: those of a split model do so in turn."""
        assert self.positions is not None
        if self.positions.device == device:
            return self.positions
        if device not in self._elsewhere:
            self._elsewhere[device] = self.positions.to(device)
        return self._elsewhere[device]

    def forget(self) -> None:
        """Let go of the last forward pass's tables: its tensors may be changed in place."""
        self.positions = self.chunk = None
        self._elsewhere.clear()
        for plan in self._plans:
            plan.forget()


class _Plan:
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
        self._planned, self._spans = (), []
        self._stepped, self._step = (), None


class LayerAttention:
    """The attention of one layer of a patched model.

    Attributes:
        model: the attention of the whole model.
        layer: what is known of the layer.
        rotary: the numbers that it turns by.
        norms: the modules that normalise queries and keys after they turned, if there are such:
            their weights are left to it.
    """

    def __init__(self, model: RopeAttention, layer: Layer, plan: _Plan):
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
        if self.keys_are_rotated and span.k_pairs is None:
            return query, key
        room = None if self.model.workspace is None else self.model.workspace.like(key)
        if not self.keys_are_rotated:
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
