"""Scores of a document's tokens with no more context than a model was tuned with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.scores import TokenScores
from rope_eval.scoring.logits import score_logits

TOKENS_AT_ONCE = 1 << 16


@torch.inference_mode()
def score_in_windows(model: PreTrainedModel, input_ids: Tensor, length: int) -> TokenScores:
    """Score each token where it lies within the last half of a window of its own.

    Windows of ``length`` inputs begin at every half of it, and each gives the scores that follow
    its last half; the first one gives all of its own. So a token past the first window is scored
    with length / 2 to length tokens before it: the same text as in one pass over the document, by
    the same model, but never at a distance that tuning has not shown.

    Args:
        model: a model, inside `patched` or stock.
        input_ids: int64 ``[T]``, T > length.
        length: inputs of a window, even.

    Returns:
        The scores of tokens 1 … T − 1.
    """
    half = length // 2
    starts = list(range(0, len(input_ids) - 1 - half, half))
    starts[-1] = len(input_ids) - 1 - length  # the last window ends with the document
    inputs = torch.stack([input_ids[start : start + length] for start in starts])
    targets = torch.stack([input_ids[start + 1 : start + 1 + length] for start in starts])
    nll = np.empty(len(input_ids) - 1, dtype=np.float32)
    hit = np.empty(len(input_ids) - 1, dtype=np.bool_)
    rows = max(1, TOKENS_AT_ONCE // length)
    for first in range(0, len(starts), rows):
        some = slice(first, first + rows)
        logits = model(input_ids=inputs[some].to(model.device), use_cache=False).logits
        loss, right = score_logits(logits, targets[some])
        for start, losses, marks in zip(starts[some], loss.cpu(), right.cpu(), strict=True):
            kept = 0 if start == 0 else half
            nll[start + kept : start + length] = losses[kept:].numpy()
            hit[start + kept : start + length] = marks[kept:].numpy()
    return TokenScores(nll=nll, hit=hit)
