"""Score a long document layer by layer: memory does not grow with the layers or the vocabulary.

Scoring needs no cache across layers: all tokens go through the first layer in chunks, then through
the second, and so on. What is held is the hidden state and one layer's keys and values; logits
exist a chunk at a time. Shape letters: T tokens, D hidden size, M key-value heads, H head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import (
    ATTRIBUTE,
    RopeAttention,
    rotaries_of,
    sequence_lengths,
)
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.offload import in_turn
from rope_eval.backends.hf.overrides import evaluating
from rope_eval.backends.hf.patch import patched
from rope_eval.backends.hf.replay import Parts, Replay
from rope_eval.backends.hf.rows import Rows
from rope_eval.backends.hf.workspace import Workspace
from rope_eval.errors import LengthError, SpecError
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import score_by_base
from rope_eval.scoring.cost import usual_chunk
from rope_eval.scoring.keys import Keys
from rope_eval.scoring.logits import check_vocabulary, score_hidden
from rope_eval.scoring.out_of_memory import in_memory

STATE_BLOCK = 64  # tokens: what linear layers take at a time


def score_tokens(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    chunk_size: int | None = None,
    place: str = "device",
    halved: Callable[[int], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> TokenScores:
    """Score every token of a document given all before it, in one pass.

    Args:
        model: a supported model, inside `patched` or stock.
        input_ids: int64 ``[T]`` or ``[1, T]``, T ≥ 2, on any device.
        chunk_size: tokens of a chunk; it changes memory and speed, not the scores.
        place: where hidden states are held between layers: of `rope_eval.backends.hf.rows.PLACES`.
        halved: where memory runs out, the text is begun again with half the chunk, and this is told
            its tokens; None raises what PyTorch did.
        progress: called with the part of the work done, from 0 to 1.

    Returns:
        The scores of tokens 1 … T − 1.

    Raises:
        LengthError: for fewer than two tokens.
        DataError: for a token that the model does not have.
        ScoreError: for a score that is NaN or infinite.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    input_ids = one_text(input_ids)
    check_text(model, input_ids, chunk_size)
    if not hasattr(model, ATTRIBUTE):
        with patched(model, RopeSpec()):
            return score_tokens(
                model,
                input_ids,
                chunk_size=chunk_size,
                place=place,
                halved=halved,
                progress=progress,
            )

    attention: RopeAttention = getattr(model, ATTRIBUTE)

    def score(chunk_size: int) -> TokenScores:
        with torch.inference_mode(), evaluating(model):
            report = progress or (lambda _: None)
            parts = chunks_of(attention, len(input_ids) - 1, chunk_size)
            keys = Keys(attention, len(input_ids))
            hidden = last_hidden(model, input_ids, parts, keys, report, place=place)
            del keys  # before there are logits
            with Parts(model).head() as head:
                nll, hit = score_hidden(
                    head,
                    hidden,
                    input_ids[1:],
                    vocabulary=model.config.get_text_config().vocab_size,
                )
        return TokenScores(nll=nll.cpu().numpy(), hit=hit.cpu().numpy())

    chunk_size = chunk_size or usual_chunk(input_device(model).type)
    if halved is None:
        return score(chunk_size)
    return in_memory(score, min(chunk_size, len(input_ids)), halved)


def one_text(input_ids: Tensor) -> Tensor:
    """Return ``[T]`` of a text's tokens, also where a tokenizer gives them as ``[1, T]``."""
    return input_ids[0] if input_ids.ndim == 2 and len(input_ids) == 1 else input_ids


def check_text(model: PreTrainedModel, input_ids: Tensor, chunk_size: int | None) -> None:
    """Raise what `score_tokens` raises for a text, or a chunk, that cannot be scored."""
    if input_ids.ndim != 1 or len(input_ids) < 2:
        raise LengthError(
            f"scoring needs a row of at least 2 tokens, got shape {list(input_ids.shape)}"
        )
    check_chunk_size(chunk_size)
    check_vocabulary(model, int(input_ids.max()))


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
    place: str = "device",
    halved: Callable[[int], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[int, TokenScores]:
    """Score the first L tokens of a document for each length L.

    One pass serves every length, as a token's score does not depend on what follows; only under
    "per_sequence" dynamic NTK it does, and then one pass serves the lengths that share a base.

    Args:
        model: a supported model inside `patched`.
        input_ids: int64 ``[T]``.
        lengths: each 2 to T.
        chunk_size: as in `score_tokens`, and so the three that follow.
        place: where hidden states are held.
        halved: is told of a chunk that memory made shorter.
        progress: is told the part of the work done.

    Returns:
        For each length L the scores of tokens 1 … L − 1, in the order of `lengths`.
    """
    return score_by_base(
        rotaries_of(model),
        lengths,
        lambda longest, report: score_tokens(
            model,
            input_ids[:longest],
            chunk_size=chunk_size,
            place=place,
            halved=halved,
            progress=report,
        ),
        progress,
    )


def last_hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    parts: Sequence[slice],
    keys: Keys,
    progress: Callable[[float], None],
    *,
    place: str = "device",
) -> Rows:
    """Return the hidden states after the last layer of a text's chunks, in their order.

    Args:
        model: inside `patched`.
        input_ids: the whole text, int64 ``[T]``.
        parts: of `chunks_of` its first T − 1 tokens: all of them, or some.
        keys: of the text; it may know those of chunks that are not among the parts.
        progress: called with the part of the work done, from 0 to 1.
        place: where they are held between layers, of `rope_eval.backends.hf.rows.PLACES`.

    Returns:
        ``[1, t, D]``, t being the tokens of the parts.
    """
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    length = torch.tensor([len(input_ids)])  # of the whole document, its last token included
    tokens = input_ids[None, :-1].to(input_device(model))
    rotated = not (
        _keeps_chunks(attention)
        or attention.anatomy.shares_keys
        or attention.rotary.position_map is not None
        or attention.rotary.scales_pairs  # each chunk makes other keys of them in any case
    )
    with sequence_lengths(model, length), _of_a_text(attention, rotated, len(input_ids)):
        replay = Replay(model, tokens, parts, keys.update, place)
        steps = replay.depth * len(parts)
        with in_turn(replay.parts.blocks) as turn:
            for depth in range(replay.depth):
                turn(depth)
                keys.next_block()
                for i, chunk in enumerate(replay.chunks):
                    attention.begin(chunk.positions, (chunk.part.start, len(input_ids)))
                    replay.run(depth, chunk)
                    progress((depth * len(parts) + i + 1) / steps)
        keys.finish()
        hidden = replay.last()
    attention.forget()
    return hidden


def _keeps_chunks(attention: RopeAttention) -> bool:
    """Whether chunks are not to be cut at the borders of octaves.

    Linear layers compute in blocks of `STATE_BLOCK`, and another size of chunk gives other numbers:
    then the keys stay unrotated, and attention finds the octaves in a chunk.
    """
    return attention.anatomy.keeps_state and any(
        rotary.base_changes == "per_query" for rotary in attention.rotaries
    )


def chunks_of(attention: RopeAttention, length: int, size: int) -> list[slice]:
    """Cut a text at every multiple of `size` within an octave, so that a chunk has one base."""
    if attention.anatomy.keeps_state:
        size = -(-size // STATE_BLOCK) * STATE_BLOCK
    chunks = []
    start = 0
    while start < length:
        ends = [math.inf]
        if not _keeps_chunks(attention):
            ends = [rotary.alpha_end(start + 1) for rotary in attention.rotaries]
        stop = int(min(length, start + size, *ends))
        chunks.append(slice(start, stop))
        start = stop
    return chunks


@contextmanager
def _of_a_text(attention: RopeAttention, rotated: bool, length: int) -> Iterator[None]:
    """Have keys come rotated, if so, and else turned in one place for the whole text."""
    attention.keys_are_rotated, attention.workspace = rotated, Workspace(length)
    try:
        yield
    finally:
        attention.keys_are_rotated, attention.workspace = False, None
