"""The one place where logits become scores: −ln p of each target, and whether it was the likeliest.

Shape letters: T targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_eval.backends.hf.rows import Rows
from rope_eval.errors import DataError, ScoreError

LOGITS_AT_ONCE = 1 << 23  # 32 MiB of float32


def check_vocabulary(model: PreTrainedModel, largest: int) -> None:
    """Raise `DataError` for a token that a model does not have: a GPU would only abort."""
    known = min(
        model.get_input_embeddings().weight.shape[0], model.config.get_text_config().vocab_size
    )
    if largest >= known:
        raise DataError(
            f"the tokenizer gives token {largest}, and the model has {known}: is it the tokenizer "
            "of this model?"
        )


def score_hidden(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor | Rows,
    targets: Tensor,
    *,
    vocabulary: int,
    first: int | None = 1,
) -> tuple[Tensor, Tensor]:
    """Score targets by the hidden states before them; the logits exist a part at a time.

    Args:
        head: turns hidden states ``[T, D]`` into logits ``[T, V]``.
        hidden: ``[T, D]``, after the last layer; or all of a text ``[1, T, D]``, wherever held.
        targets: the token after each, int64 ``[T]``.
        vocabulary: V.
        first: the place of the first target in its text, which an error names; None leaves it to
            the caller to `check_scores`.

    Returns:
        −ln p in nats, float32 ``[T]``, and whether the target was the most likely token, bool
        ``[T]``; both on the device of `hidden`.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    nll = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    hit = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    rows = max(1, LOGITS_AT_ONCE // vocabulary)
    for start in range(0, len(targets), rows):
        some = slice(start, start + rows)
        nll[some], hit[some] = _scores(head(hidden[some].flatten(0, -2)), targets[some])
    if first is not None:
        check_scores(nll, first)
    return nll, hit


def score_logits(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Score targets by their logits, where these are few enough to be held.

    Args:
        logits: ``[…, T, V]``.
        targets: int64 ``[…, T]``.

    Returns:
        As `score_hidden`: ``[…, T]`` each.

    Raises:
        ScoreError: for a score that is NaN or infinite.
    """
    nll, hit = _scores(logits, targets)
    check_scores(nll, 1)
    return nll, hit


def _scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits, targets = logits.float(), targets.to(logits.device)
    nll = logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]
    return nll, logits.argmax(-1) == targets


def check_scores(nll: Tensor, first: int) -> None:
    """Raise `ScoreError` for scores ``[…, T]`` that are no numbers, the first being of a token."""
    bad = (~nll.isfinite()).nonzero()
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ScoreError(
            f"the score of token {first + where[-1]} is {float(nll[where])}: the run has failed "
            f"({len(bad)} of {nll.numel()} scores are not numbers; try dtype=float32)"
        )
