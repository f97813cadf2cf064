"""Score a long document layer by layer: memory does not grow with the layers or the vocabulary.

Scoring needs no cache across layers: all tokens go through the first layer in chunks, then through
the second, and so on. What is held is the hidden state and one layer's keys and values; logits
exist a chunk at a time. Shape letters: T tokens, D hidden size, M key-value heads, H head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.anatomy import Anatomy
from rope_eval.backends.hf.attention import ATTRIBUTE, RopeAttention, rotary_of, sequence_lengths
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.backends.hf.patch import patched
from rope_eval.errors import LengthError, SpecError
from rope_eval.rope.rotary import rotate
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import score_by_base
from rope_eval.scoring.logits import check_vocabulary, score_hidden

CHUNK = {"cpu": 2048, "cuda": 8192}  # tokens of a chunk; shorter ones cost attention time


def score_tokens(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    chunk_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> TokenScores:
    """Score every token of a document given all before it, in one pass.

    Args:
        model: a supported model, inside `patched` or stock.
        input_ids: int64 ``[T]``, T ≥ 2, on any device.
        chunk_size: tokens of a chunk; it changes memory and speed, not the scores.
        progress: called with the part of the work done, from 0 to 1.

    Returns:
        The scores of tokens 1 … T − 1.

    Raises:
        LengthError: for fewer than two tokens.
        DataError: for a token that the model does not have.
        ScoreError: for a score that is NaN or infinite.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    if input_ids.ndim != 1 or len(input_ids) < 2:
        raise LengthError(
            f"scoring needs a row of at least 2 tokens, got shape {list(input_ids.shape)}"
        )
    check_chunk_size(chunk_size)
    check_vocabulary(model, int(input_ids.max()))
    if not hasattr(model, ATTRIBUTE):
        with patched(model, RopeSpec()):
            return score_tokens(model, input_ids, chunk_size=chunk_size, progress=progress)
    chunk_size = chunk_size or CHUNK.get(model.device.type, CHUNK["cpu"])
    with torch.inference_mode(), _evaluating(model):
        hidden = _last_hidden(model, input_ids, chunk_size, progress or (lambda _: None))
        parts = Anatomy.of(model)
        nll, hit = score_hidden(
            lambda some: parts.head(parts.norm(some)),
            hidden[0],
            input_ids[1:],
            vocabulary=model.config.vocab_size,
        )
    return TokenScores(nll=nll.cpu().numpy(), hit=hit.cpu().numpy())


def check_chunk_size(chunk_size: object) -> None:
    """Raise `SpecError` for what is neither None nor a whole number of 1 or more."""
    whole = isinstance(chunk_size, int) and not isinstance(chunk_size, bool)
    if chunk_size is not None and not (whole and chunk_size >= 1):  # type: ignore[operator]
        raise SpecError(f"chunk_size must be a whole number of 1 or more, got {chunk_size!r}")


def score_lengths(
    model: PreTrainedModel,
    input_ids: Tensor,
    lengths: Sequence[int],
    *,
    chunk_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[int, TokenScores]:
    """Score the first L tokens of a document for each length L.

    One pass serves every length, as a token's score does not depend on what follows; only under
    "per_sequence" dynamic NTK it does, and then one pass serves the lengths that share a base.

    Args:
        model: a supported model inside `patched`.
        input_ids: int64 ``[T]``.
        lengths: each 2 to T.
        chunk_size: as in `score_tokens`.
        progress: as in `score_tokens`.

    Returns:
        For each length L the scores of tokens 1 … L − 1, in the order of `lengths`.
    """
    return score_by_base(
        rotary_of(model),
        lengths,
        lambda longest, report: score_tokens(
            model, input_ids[:longest], chunk_size=chunk_size, progress=report
        ),
        progress,
    )


def _last_hidden(
    model: PreTrainedModel, input_ids: Tensor, chunk_size: int, progress: Callable[[float], None]
) -> Tensor:
    """Return the hidden state after the last layer of tokens 0 … T − 2: ``[1, T − 1, D]``."""
    parts = Anatomy.of(model)
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    length = torch.tensor([len(input_ids)])  # of the whole document, its last token included
    tokens = input_ids[None, :-1].to(model.device)
    hidden = parts.embed(tokens)
    chunks = [
        (chunk, torch.arange(chunk.start, chunk.stop, device=model.device)[None])
        for chunk in _chunks(attention, tokens.shape[1], chunk_size)
    ]
    keys = _RotatedKeys(attention, len(input_ids))
    cache = cache_argument(parts.layers[0])
    steps = len(parts.layers) * len(chunks)
    with sequence_lengths(model, length), _rotated_keys(attention):
        for depth, layer in enumerate(parts.layers):
            keys.clear()
            for i, (chunk, position_ids) in enumerate(chunks):
                x = hidden[:, chunk]
                hidden[:, chunk] = layer(
                    x,
                    attention_mask=None,
                    position_ids=position_ids,
                    use_cache=True,
                    position_embeddings=parts.rotary(x, position_ids),
                    **{cache: keys},
                )
                progress((depth * len(chunks) + i + 1) / steps)
    attention.forget()
    return hidden


def _chunks(attention: RopeAttention, length: int, size: int) -> list[slice]:
    """Cut at every multiple of `size` within an octave, so that a chunk has one base."""
    chunks = []
    start = 0
    while start < length:
        stop = int(min(length, start + size, attention.rotary.alpha_end(start + 1)))
        chunks.append(slice(start, stop))
        start = stop
    return chunks


class _RotatedKeys:
    """One layer's cache of one document: keys are rotated once an octave, not once a chunk."""

    def __init__(self, attention: RopeAttention, length: int):
        self.rotary = attention.rotary
        self.length = length
        self.per_query = self.rotary.spec.base_changes == "per_query"
        self.keys: Tensor | None = None
        self.clear()

    def clear(self) -> None:
        """Begin the next layer."""
        self.filled = 0
        self.alpha = 0.0

    def update(self, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take a chunk's keys and values ``[1, M, Q, H]``; return all so far, keys rotated."""
        if self.keys is None or self.keys.device != key.device:
            shape = (*key.shape[:2], self.length, key.shape[3])
            self.keys, self.values = key.new_empty(shape), value.new_empty(shape)
            self.unrotated = key.new_empty(shape) if self.per_query else None
        start, stop = self.filled, self.filled + key.shape[2]
        alpha = self.rotary.alpha(start + 1 if self.per_query else self.length)
        if self.unrotated is not None:
            self.unrotated[:, :, start:stop] = key
            if alpha != self.alpha:
                start, key = 0, self.unrotated[:, :, :stop]
        cos, sin = self.rotary.table(alpha, stop, key.device)
        self.keys[:, :, start:stop] = rotate(key, cos[start:], sin[start:])
        self.values[:, :, self.filled : stop] = value
        self.filled, self.alpha = stop, alpha
        return self.keys[:, :, :stop], self.values[:, :, :stop]


@contextmanager
def _rotated_keys(attention: RopeAttention) -> Iterator[None]:
    attention.keys_are_rotated = True
    try:
        yield
    finally:
        attention.keys_are_rotated = False


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
