"""Mean attention scores against relative position, as in Figs. 6, 8 and 10 of arXiv 2310.05209.

The score of the query at t and the key at s is what goes into the softmax. It is a sum over the
pairs of dimensions (Eq. 2), so it has a part from the pairs before the critical dimension, which
saw a full period in pre-training, and a part from it on. Dimensions that the model does not rotate
belong to neither part.

No T × T matrix is held. The scores of a block of queries are written row by row, and read along
the diagonals, where the relative position is the same. Shape letters: L layers, N heads, M
key-value heads, G = N / M, Q queries, K keys, H head_dim, E bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.anatomy import without_adapter
from rope_eval.backends.hf.attention import RopeAttention
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.kernels import Scores
from rope_eval.backends.hf.layer_attention import LayerAttention
from rope_eval.backends.hf.overrides import ATTRIBUTE, override
from rope_eval.backends.hf.patch import patched
from rope_eval.backends.hf.spans import Span
from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.attention_profile import AttentionProfile
from rope_eval.scoring.tokens import score_tokens

BLOCK = 256  # queries at a time: one float64 matrix of so many rows and T columns is held


def attention_by_distance(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    first_pair_beyond: int,
    bin_edges: Sequence[int],
    block_size: int = BLOCK,
    chunk_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> AttentionProfile:
    """Measure a document's attention scores, before the softmax, by relative position.

    They are the scores that the model attends with in the layers that take the setting, before any
    soft cap: its own softmax scale, and log scale, xPos, clip and drop where the setting has them.
    The queries are those that `score_tokens` runs: all tokens but the last, which predicts nothing.

    Args:
        model: a supported model, inside `patched` or stock.
        input_ids: int64 ``[T]``, T ≥ 2.
        first_pair_beyond: half the critical dimension; pairs from it on are the second part.
        bin_edges: relative positions, increasing; others than those between the first and the
            last are not counted. See `bin_edges`.
        block_size: queries at a time. Memory is 12 · block_size · T · G bytes beyond the scorer's.
        chunk_size: as in `score_tokens`.
        progress: called with the part of the work done, from 0 to 1.

    Returns:
        The sums of the layers that take the setting, and their heads.

    Raises:
        SpecError: for a pair, edges or a block that make no sense.
        LengthError: for fewer than two tokens.
        ScoreError: for a score that is NaN or infinite.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    if not hasattr(model, ATTRIBUTE):
        with patched(model, RopeSpec()):
            return attention_by_distance(
                model,
                input_ids,
                first_pair_beyond=first_pair_beyond,
                bin_edges=bin_edges,
                block_size=block_size,
                chunk_size=chunk_size,
                progress=progress,
            )
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    if attention.rotary.position_map is not None:
        raise SpecError(
            f"scores by distance have no meaning under {attention.spec}: a position map has "
            "another distance for each region; measure them without it"
        )
    _check(first_pair_beyond, attention.rotary.pairs, bin_edges, block_size)
    taking = [attention.layers[i] for i in sorted(attention.taking)]
    queries = max(len(input_ids) - 1, 0)
    edges = torch.tensor(list(bin_edges))
    bins = torch.bucketize(torch.arange(queries), edges, right=True)  # 0 and E + 1 are outside
    if (window := _window(taking)) is not None:
        bins[window:] = 0
    layers = [
        _Layer(some, first_pair_beyond, bins.to(input_device(model)), len(edges) + 1, block_size)
        for some in taking
    ]
    with _listening(model, layers):
        score_tokens(model, input_ids, chunk_size=chunk_size, progress=progress)
    pairs = torch.bincount(bins, weights=queries - torch.arange(queries), minlength=len(edges) + 1)
    return AttentionProfile(
        bin_edges=edges.numpy(),
        counts=pairs[1:-1].to(torch.int64).numpy(),
        sums=torch.stack([layer.sums[..., 1:-1] for layer in layers]).cpu().numpy(),
        squares=torch.stack([layer.squares[..., 1:-1] for layer in layers]).cpu().numpy(),
    )


class _Layer:
    """Stands where a layer's attention stood: it attends as that does, and keeps sums."""

    def __init__(
        self, attention: LayerAttention, first: int, bins: Tensor, slots: int, block_size: int
    ):
        pairs = attention.rotary.pairs
        self.attention = attention
        self.parts = [
            torch.cat((torch.arange(a, b), torch.arange(pairs + a, pairs + b))).to(bins.device)
            for a, b in ((0, first), (first, pairs))
        ]
        self.bins = bins
        self.block_size = block_size
        self.slots = slots
        self.sums = self.squares = torch.empty(0)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, places: Tensor | None, scores: Scores
    ) -> Tensor:
        """Add the scores of ``[1, N, Q, H]`` queries, and attend as `LayerAttention.attend`."""
        assert places is None, "the scorer runs one document at a time"
        attention = self.attention
        if not len(self.sums):
            shape = (query.shape[1], 2, self.slots)
            self.sums = torch.zeros(shape, dtype=torch.float64, device=query.device)
            self.squares = torch.zeros_like(self.sums)
        for span in attention.spans(places, query.shape[2], key.shape[2], query.device):
            assert isinstance(span, Span), "position maps are refused"
            q, k = attention.rotated(span, query[:, :, span.queries], key[:, :, span.keys])
            self._add(q[0], k[0], scores.scale)
        return attention.attend(query, key, value, places, scores)

    def _add(self, q: Tensor, k: Tensor, scale: float) -> None:
        """Add rotated queries ``[N, Q, H]`` at the end of their keys ``[M, K, H]``."""
        precise = torch.promote_types(q.dtype, torch.float32)
        q = q.unflatten(0, (k.shape[0], -1)).to(precise) * scale
        backwards = k.flip(1).to(precise)  # so that a row of scores runs with the distance
        sums, squares = (
            x.unflatten(0, (k.shape[0], -1)) for x in (self.sums, self.squares)
        )  # [M, G, 2, slots], views
        past = k.shape[1] - q.shape[2]
        for m in range(len(k)):
            for i, part in enumerate(self.parts):
                columns = backwards[m][:, part].T
                for start in range(0, q.shape[2], self.block_size):
                    rows = q[m][:, start : start + self.block_size, part]
                    seen = past + start + rows.shape[1]
                    scores = rows @ columns[:, k.shape[1] - seen :]
                    for total, found in zip(
                        (sums, squares), _sums_by_distance(scores), strict=True
                    ):
                        total[m, :, i].index_add_(1, self.bins[:seen], found)


def _sums_by_distance(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums, and the sums of squares, at the relative positions 0 … K − 1.

    Args:
        scores: ``[G, Q, K]`` of the last Q queries with all keys, the latest key first: row r has
            the relative position m in column m + Q − 1 − r.

    Returns:
        float64 ``[G, K]`` each.
    """
    G, Q, K = scores.shape
    table = torch.zeros(G, Q, K + 1, dtype=torch.float64, device=scores.device)
    table[..., :K] = scores
    table[..., :Q] *= torch.ones(Q, Q, device=scores.device).triu().flip(0)  # none from the future
    strides = (Q * (K + 1), K, 1)  # a row on is K + 1 on, and one back for the same position
    along = table.as_strided((G, Q, K), strides, Q - 1)
    sums = along.sum(1)
    table.square_()
    return sums, along.sum(1)


@contextmanager
def _listening(model: PreTrainedModel, layers: list[_Layer]) -> Iterator[None]:
    inner = without_adapter(model)
    with ExitStack() as undo:
        for layer in layers:
            module = inner.get_submodule(layer.attention.layer.module)
            override(undo, module, ATTRIBUTE, layer)
        yield


def _window(layers: list[LayerAttention]) -> int | None:
    """Return how far all layers see, None for everything before."""
    patterns = {layer.layer.pattern for layer in layers}
    if len(patterns) > 1 or any(pattern.chunk for pattern in patterns):
        raise UnsupportedModelError(
            "scores by distance need layers that see equally far, and the setting is on layers "
            f"that see {', '.join(sorted(map(str, patterns)))}: use layers=full"
        )
    return patterns.pop().window


def _check(first: int, pairs: int, edges: Sequence[int], block_size: int) -> None:
    if not 0 <= first <= pairs:
        raise SpecError(f"first_pair_beyond must be 0 to the model's {pairs} pairs, got {first}")
    if len(edges) < 2 or edges[0] < 0 or any(a >= b for a, b in pairwise(edges)):
        raise SpecError(
            f"bin_edges must be two or more increasing relative positions, 0 or more, got "
            f"{list(edges)}"
        )
    if block_size < 1:
        raise SpecError(f"block_size must be 1 or more, got {block_size}")
