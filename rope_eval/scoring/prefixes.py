"""Score many whole texts, computing what they have in common once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.compat import cache_argument
from rope_eval.errors import ScoreError
from rope_eval.scoring.tokens import LOGITS_AT_ONCE

MIN_SHARED = 8  # tokens; neighbours with less in common are strangers
PASS_COST = {"cpu": 64, "cuda": 512}  # tokens that take the time of one more pass; cuda: estimated

Ids = tuple[int, ...]


def families(texts: Sequence[Ids]) -> Iterator[list[Ids]]:
    """Yield the texts in order, parted where neighbours share fewer than MIN_SHARED tokens.

    >>> few = [(1, 5), (1, *range(9)), (1, *range(8), 3)]
    >>> [len(family) for family in families(few)]
    [2, 1]
    """
    family: list[Ids] = []
    for text in sorted(texts):
        if family and common(family[-1], text) < MIN_SHARED:
            yield family
            family = []
        family.append(text)
    if family:
        yield family


def sharing_pays(family: Sequence[Ids], device: str = "cpu") -> bool:
    """Say whether one pass after another over what is new beats all texts in batches.

    >>> shared = tuple(range(1000))
    >>> sharing_pays([(*shared, 1), (*shared, 2)]), sharing_pays([(1, 2, 3, 4), (1, 2, 3, 5)])
    (True, False)
    """
    cost = PASS_COST.get(device, PASS_COST["cuda"])
    computed = passes = 0
    before: Ids = ()
    for text in family:
        new = len(text) - 1 - common(before, text[:-1])
        computed += new
        passes += new > 0
        before = text[:-1]
    return sum(len(text) - 1 for text in family) > computed + cost * passes


def common(a: Ids, b: Ids) -> int:
    """Return how many tokens two texts share from their beginnings.

    >>> common((1, 2, 3), (1, 2, 4, 5))
    2
    """
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def walk(model: PreTrainedModel, texts: Sequence[Ids]) -> Iterator[float]:
    """Yield each text's sum of NLL over its tokens but the first, in nats.

    Args:
        model: a model inside `patched`.
        texts: of two tokens or more, sorted; under "per_sequence" dynamic NTK all of one base.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    device = model.device
    cache = DynamicCache(config=model.config)
    hidden = torch.empty(0, 0)
    nll = torch.empty(0, dtype=torch.float64)
    before: Ids = ()
    for text in texts:
        shared = common(before, text)
        cached = min(shared, len(before) - 1, len(text) - 1) if before else 0
        ids = torch.tensor(text, device=device)
        if before:
            if surplus := cache.get_seq_length() - cached:
                cache.crop(-surplus)
            hidden, nll = hidden[:cached], nll[: shared - 1]
        with torch.inference_mode(), sequence_lengths(model, torch.tensor([len(text)])):
            if cached < len(text) - 1:
                new = model.base_model(
                    ids[None, cached:-1],
                    use_cache=True,
                    **{cache_argument(model.base_model): cache},
                ).last_hidden_state[0]
                hidden = torch.cat([hidden, new]) if cached else new
            nll = torch.cat([nll, _nll(model, hidden[len(nll) :], ids[len(nll) + 1 :])])
        total = float(nll.sum())
        if not nll.isfinite().all():
            raise ScoreError(
                f"the score of a text of {len(text)} tokens is {total}: the run has failed (try "
                "dtype=float32)"
            )
        yield total
        before = text


def _nll(model: PreTrainedModel, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return −ln p of the targets, float64 on the CPU; the logits exist a part at a time."""
    rows = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    head = model.get_output_embeddings()
    parts = []
    for start in range(0, len(targets), rows):
        logits = head(hidden[start : start + rows]).float()
        target = targets[start : start + rows].to(logits.device)
        parts.append(logits.logsumexp(-1) - logits.gather(-1, target[:, None])[:, 0])
    return torch.cat(parts).double().cpu() if parts else torch.empty(0, dtype=torch.float64)
