"""Where a published curve says that the context is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rope_eval.errors import DataError
from rope_eval.local_loss import MARGIN
from rope_eval.report.published_curves.file import PublishedCurve

STEPS = 4
"""Steps of the lengths that a window has: a single one is as noisy as the text."""

TURN = 0.05
"""Nats by which a cumulative curve has turned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a curve says.

    Attributes:
        lost: the first window, (begin, end] in tokens, whose local loss is more than the margin
            above the least of those before it; None where there is none.
        turn: the first length whose cumulative nats a token are more than `TURN` above the least
            before; later than `lost`, as it is of all tokens so far; None where there is none.
        longest: the last length, in tokens.
    """

    lost: tuple[int, int] | None
    turn: int | None
    longest: int


def read_curve(curve: PublishedCurve, *, margin: float = MARGIN, steps: int = STEPS) -> Reading:
    """Return where a curve says that the context is lost.

    A curve has no tokens, so it cannot be paired with what the same tokens cost in a short context:
    the best window so far stands for that. Code LLaMA 7B on Proof-pile, whose curve is published by
    github.com/jquesnelle/yarn, is lost by 118,784 tokens.

    Args:
        curve: the curve.
        margin: nats a token.
        steps: of the lengths that a window has.

    Raises:
        DataError: for a curve with no two windows.
    """
    lengths = curve.lengths
    losses = window_losses(curve, steps)
    if len(losses) < 2:
        raise DataError(
            f"{curve.name} has {len(lengths)} lengths, and {steps + 2} make the two windows that "
            "are compared"
        )
    begun = _first_above(losses, margin)
    turned = _first_above([math.log(value) for value in curve.perplexities], TURN)
    return Reading(
        lost=None if begun is None else (lengths[begun], lengths[begun + steps]),
        turn=None if turned is None else lengths[turned],
        longest=lengths[-1],
    )


def window_losses(curve: PublishedCurve, steps: int) -> list[float]:
    """Return nats a token between each length and the one `steps` after it.

    With p(L) the perplexity of the L − 1 tokens after the first, it is
    [(L₂−1)·ln p(L₂) − (L₁−1)·ln p(L₁)] / (L₂ − L₁).
    """
    nats = [
        (length - 1) * math.log(value)
        for length, value in zip(curve.lengths, curve.perplexities, strict=True)
    ]
    return [
        (nats[end] - nats[end - steps]) / (curve.lengths[end] - curve.lengths[end - steps])
        for end in range(steps, len(nats))
    ]


def _first_above(values: Sequence[float], margin: float) -> int | None:
    """Return the index of the first value that is more than a margin above the least before it."""
    least = math.inf
    for index, value in enumerate(values):
        if value > least + margin:
            return index
        least = min(least, value)
    return None
