"""One document over several processes: each computes a share of its tokens, the same scores.

A text is cut into chunks, as ever, and they are dealt out like cards: a turn of as many as there
are processes, then the next, and who has had the least work gets the most of it: 0 1 2, 2 1 0, and
so on. So every process has early tokens, that see few keys, and late ones, that see many. A turn
goes through a layer together: each process makes the keys and values of its own chunk, all tell
theirs to all, and each attends to what is before its own. What is computed is what one process
computes in the same chunks, bit for bit, whatever the setting: positions, octaves and lengths are
those of the text.

Each process holds the hidden states of its own tokens, and the keys and values of one layer of all
tokens. A layer moves (P − 1) / P · T · W bytes to each process, where W is what a token's keys and
values take: 2 · M · H · itemsize as a rule. Shape letters: P processes, T tokens, M key-value
heads, H head_dim.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.attention import ATTRIBUTE, RopeAttention, rotaries_of
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.overrides import evaluating
from rope_eval.backends.hf.replay import Parts
from rope_eval.errors import UnsupportedModelError
from rope_eval.scores import TokenScores
from rope_eval.scoring.by_base import score_by_base
from rope_eval.scoring.cost import usual_chunk
from rope_eval.scoring.keys import Keys
from rope_eval.scoring.logits import check_scores, score_hidden
from rope_eval.scoring.processes import Processes
from rope_eval.scoring.tokens import (
    check_text,
    chunks_of,
    last_hidden,
    score_tokens,
)

TURNS = 8  # at least, so that what waits for the last of a turn is short
SHORTEST = 256  # tokens of a chunk: shorter ones only where there would be fewer than two turns


@dataclass(frozen=True)
class Deal:
    """Who computes which chunk of a text.

    Attributes:
        parts: the chunks, in their order.
        size: how many processes there are.
    """

    parts: tuple[slice, ...]
    size: int

    @functools.cached_property
    def turns(self) -> list[list[tuple[int, slice]]]:
        """Of each turn the chunks in their order, each with its process; the last may lack some.

        The largest work of a turn goes to the process that has had the least.
        """
        had = [0] * self.size
        found = []
        for start in range(0, len(self.parts), self.size):
            turn = []
            free = sorted(range(self.size), key=had.__getitem__)
            for part in sorted(self.parts[start : start + self.size], key=_work, reverse=True):
                owner = free.pop(0)
                had[owner] += _work(part)
                turn.append((owner, part))
            found.append(sorted(turn, key=lambda one: one[1].start))
        return found

    def share(self, rank: int) -> list[slice]:
        """Return the chunks of a process, in their order."""
        return [part for turn in self.turns for owner, part in turn if owner == rank]

    @property
    def work(self) -> list[int]:
        """How many pairs of a query and a key that it sees each process has, under full attention.

        >>> Deal(tuple(slice(i, i + 8) for i in range(0, 64, 8)), 2).work
        [1040, 1040]
        """
        return [sum(map(_work, self.share(rank))) for rank in range(self.size)]

    def received(self, row_bytes: int) -> int:
        """Return how many bytes reach a process for one attention layer.

        Args:
            row_bytes: of a token's keys and values.
        """
        longest = [max(_length(part) for _, part in turn) for turn in self.turns]
        return (self.size - 1) * sum(longest) * row_bytes


def dealt(attention: RopeAttention, tokens: int, size: int, longest: int) -> Deal:
    """Cut a text of at least as many tokens as there are processes, so that all have work.

    Args:
        attention: of the model, which says where a chunk has to end.
        tokens: T.
        size: P.
        longest: tokens of a chunk.
    """
    least = -(-tokens // (size * longest))
    most = tokens // (size * min(SHORTEST, longest))
    turns = max(2, least, min(TURNS, most))
    turns += turns % 2  # one that is the other way about for each
    parts = chunks_of(attention, tokens, -(-tokens // (turns * size)))
    while len(parts) % size:
        early = [part for part in parts if part.start < tokens / 4 or len(parts) < size]
        part = max(early, key=_length)  # what is early is little work
        if _length(part) == 1:
            break
        middle = (part.start + part.stop) // 2
        i = parts.index(part)
        parts[i : i + 1] = [slice(part.start, middle), slice(middle, part.stop)]
    return Deal(tuple(parts), size)


def _length(part: slice) -> int:
    count: int = part.stop - part.start
    return count


def _work(part: slice) -> int:
    """Return how many pairs of a query and a key that it sees a chunk has."""
    return _length(part) * (part.start + part.stop + 1) // 2


def score_tokens_over(
    processes: Processes,
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    chunk_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> TokenScores:
    """Score every token of a document; all processes call it, with the same, and all get all.

    A document of fewer tokens than processes is scored whole by each.

    Args:
        processes: those that share it.
        model: a supported model inside `patched`.
        input_ids: int64 ``[T]``, T ≥ 2, on any device.
        chunk_size: the most tokens of a chunk; shorter ones may be needed to part the work.
        progress: called with the part of this process's work that is done, from 0 to 1.

    Raises:
        UnsupportedModelError: for a model whose layers hand on more than keys and values.
        RopeEvalError: as `score_tokens`.
    """
    check_text(model, input_ids, chunk_size)
    attention: RopeAttention = getattr(model, ATTRIBUTE)
    _check(attention)
    tokens = len(input_ids) - 1
    if tokens < processes.size:
        return score_tokens(model, input_ids, chunk_size=chunk_size, progress=progress)
    deal = dealt(
        attention, tokens, processes.size, chunk_size or usual_chunk(input_device(model).type)
    )
    keys = _EveryonesKeys(attention, len(input_ids), deal, processes)
    share = deal.share(processes.rank)
    with torch.inference_mode(), evaluating(model):
        hidden = last_hidden(model, input_ids, share, keys, progress or (lambda _: None))
        del keys  # before there are logits
        targets = torch.cat([input_ids[part.start + 1 : part.stop + 1] for part in share])
        with Parts(model).head() as head:
            nll, hit = score_hidden(
                head,
                hidden,
                targets,
                vocabulary=model.config.get_text_config().vocab_size,
                first=None,
            )
        nll, hit = (_whole(processes, deal, x) for x in (nll, hit))
        check_scores(nll, 1)
    return TokenScores(nll=nll.cpu().numpy(), hit=hit.cpu().numpy())


def score_lengths_over(
    processes: Processes,
    model: PreTrainedModel,
    input_ids: Tensor,
    lengths: Sequence[int],
    *,
    chunk_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[int, TokenScores]:
    """Score the first L tokens of a document for each length L, as `score_lengths` does."""
    return score_by_base(
        rotaries_of(model),
        lengths,
        lambda longest, report: score_tokens_over(
            processes, model, input_ids[:longest], chunk_size=chunk_size, progress=report
        ),
        progress,
    )


def _check(attention: RopeAttention) -> None:
    if attention.anatomy.keeps_state:
        raise UnsupportedModelError(
            "this model's linear layers hand a state from token to token, so the tokens of one "
            "document cannot be shared out: share out documents"
        )


def _whole(processes: Processes, deal: Deal, own: Tensor) -> Tensor:
    """Put what each process has of its tokens ``[t]`` into the order of the text: ``[T]``."""
    shares = [deal.share(rank) for rank in range(deal.size)]
    counts = [sum(map(_length, share)) for share in shares]
    found = processes.everyones(_filled(own, max(counts)))
    whole = own.new_empty(sum(counts))
    for share, theirs in zip(shares, found, strict=True):
        start = 0
        for part in share:
            stop = start + _length(part)
            whole[part] = theirs[start:stop]
            start = stop
    return whole


def _filled(x: Tensor, length: int) -> Tensor:
    """Return x ``[t, …]`` with zeros after it: ``[length, …]``."""
    filled = x.new_zeros(length, *x.shape[1:])
    filled[: len(x)] = x
    return filled


class _EveryonesKeys(Keys):
    """The keys and values of a text whose chunks other processes make too.

    What is after a process's own chunk in its turn waits until the next: a base may change there,
    and with it the keys that are held.
    """

    def __init__(self, attention: RopeAttention, length: int, deal: Deal, processes: Processes):
        super().__init__(attention, length)
        self._turns, self._processes = deal.turns, processes
        self._taken: dict[int, int] = {}  # turns, by the number of the layer
        self._waiting: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._shapes: dict[int, tuple[Tensor, Tensor]] = {}

    def next_block(self) -> None:
        """Begin the next decoder layer."""
        self.finish()
        super().next_block()

    def finish(self) -> None:
        """Take part in the turns that have no chunk of ours, and let go of what came after ours."""
        for number, (key, value) in self._shapes.items():
            while self._taken[number] < len(self._turns):
                self._turn(number, key, value)
        self._taken, self._waiting, self._shapes = {}, {}, {}

    def update(self, number: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take our chunk's keys and values, tell them, and return all up to our chunk."""
        self._shapes[number] = key[:, :, :0], value[:, :, :0]
        before, after = self._turn(number, key, value)
        found = None
        for theirs in (*self._waiting.pop(number, []), *before):
            found = super().update(number, *theirs)
        self._waiting[number] = after
        if found is None:
            raise UnsupportedModelError(
                f"this model caches something under the number {number} that is no attention "
                "layer's: its tokens cannot be shared out over processes; share out documents"
            )
        return found

    def _turn(
        self, number: int, key: Tensor, value: Tensor
    ) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
        """Exchange a turn's keys and values: those up to our own chunk, and those after it."""
        taken = self._taken.get(number, 0)
        self._taken[number] = taken + 1
        turn = self._turns[taken]
        longest = max(_length(part) for _, part in turn)
        rows = torch.cat([_rows(key), _rows(value)], dim=1)
        found = self._processes.everyones(_filled(rows, longest))
        texts = []
        place = -1
        for i, (rank, part) in enumerate(turn):
            theirs = found[rank, : _length(part)]
            k, v = theirs.split([_width(key), _width(value)], dim=1)
            texts.append((_heads(k, key), _heads(v, value)))
            place = i if rank == self._processes.rank else place
        return texts[: place + 1], texts[place + 1 :]


def _width(x: Tensor) -> int:
    return x.shape[1] * x.shape[3]


def _rows(x: Tensor) -> Tensor:
    """Return x ``[1, M, Q, H]`` as ``[Q, M · H]``."""
    return x[0].transpose(0, 1).flatten(1)


def _heads(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows ``[Q, M · H]`` as ``[1, M, Q, H]``."""
    return rows.unflatten(1, (like.shape[1], like.shape[3])).transpose(0, 1)[None].to(like.dtype)
