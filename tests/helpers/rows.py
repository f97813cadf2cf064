"""Rows of tokens in pieces through a cache, in padded batches, and as they are generated."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from helpers import models
from rope_eval.backends.hf.compat import cache_argument

NATS = 1e-4
PIECES = {
    "tokens": [1] * 75,
    "mixed": [1, 2, 5, 17, 1, 1, 5, 17, 2, 17, 5, 2],
    "prompt": [30, 1, 1, 1, 1, 1, 40],
    "to_the_border": [16, 16, 32, 11],
    "past_the_border": [17, 16, 32, 10],
}


def in_pieces(
    model: PreTrainedModel, input_ids: Tensor, sizes: list[int], mask: Tensor | None = None
) -> Tensor:
    """Return log p as `models.log_probabilities`, through a cache."""
    cache = DynamicCache(config=model.config)
    found, start = [], 0
    assert sum(sizes) == input_ids.shape[1]
    for size in sizes:
        stop = start + size
        seen = None if mask is None else mask[:, :stop]
        piece = input_ids[:, start:stop]
        out = model(piece, attention_mask=seen, **{cache_argument(model): cache})
        found.append(out.logits.double().log_softmax(-1))
        start = stop
    return torch.cat(found, dim=1)


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Return input_ids and attention_mask of rows ``[T]``."""
    longest = max(map(len, rows))
    input_ids = torch.full((len(rows), longest), 1)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(len(row))
        input_ids[i, place], mask[i, place] = row, 1
    return input_ids, mask


def rows_of(lengths: list[int]) -> list[Tensor]:
    return [models.token_ids(n, seed=i)[0] for i, n in enumerate(lengths)]


def assert_greedy(model: PreTrainedModel, row: Tensor, prompt: int) -> None:
    """Check that every generated token is the most likely one, to within rounding."""
    for end in range(prompt, len(row)):
        log_p = models.log_probabilities(model, row[None, :end])[0, -1]
        assert log_p[row[end]] >= log_p.max() - NATS
