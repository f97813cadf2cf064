"""The loss of the tokens near a length, from the stored scores of documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rope_eval.errors import SpecError, StoreError
from rope_eval.local_loss import WINDOW, Floats
from rope_eval.report.runs import lines_of
from rope_eval.report.series.source import Line, Source
from rope_eval.results.documents import TokenLosses
from rope_eval.results.stats import SEED

SHORTEST = 32  # a window that ends there has 5 tokens a document
EIGHTHS = 8  # lengths an octave
RESAMPLES = 1000


def grid(shortest: float, longest: int) -> list[int]:
    """Return lengths by eighths of an octave, powers of two among them, and the longest.

    >>> grid(64, 128)
    [64, 70, 76, 83, 91, 99, 108, 117, 128]
    """
    steps = (round(2 ** (k / EIGHTHS)) for k in itertools.count())
    below = itertools.takewhile(lambda length: length < longest, steps)
    return [*dict.fromkeys(n for n in below if n >= shortest), longest]


def local_losses(source: Source) -> list[Line]:
    """Return the loss near each length, a line each, of every run of whole books.

    The window of a length L is (L / `WINDOW`, L], pooled over documents; the interval is of
    resampled documents. Where each length is a pass of its own, it is the pass of that length.

    Raises:
        SpecError: a length of which no run has it.
    """
    found: list[Line] = []
    longest = 0
    for run in whole_books(source):
        if (losses := token_losses(source, run)) is not None:
            longest = max(longest, losses.longest)
            found += _of_run(source, run, losses)
    there = {line["length"] for line in found}
    if longest and (missing := [length for length in source.lengths if length not in there]):
        raise SpecError(
            f"local loss is known of lengths from {SHORTEST} to {longest}, and of a run whose "
            f"lengths are passes of their own at these alone; got {missing[0]}"
        )
    return found


def whole_books(source: Source) -> list[Line]:
    """Return the frame's rows of whole books, one a run, the longest of those that are alike."""
    found: dict[tuple[Any, ...], Line] = {}
    for line in lines_of(source.measured):
        if line["kind"] == "cumulative" and line["metric"] == "perplexity":
            alike = (line["row"], line["weights"], line["task"])
            old = found.get(alike)
            if old is None or old["length"] <= line["length"]:
                found[alike] = line
    return list(found.values())


def token_losses(source: Source, line: Line) -> TokenLosses | None:
    """Return the losses of a run's tokens; None, and a note, where the store has them no more."""
    if line["value"] is None:
        source.notes.add(line["remark"] or "it failed", [line["row"]])
        return None
    try:
        return TokenLosses(source.store, source.runs[line["key"]])
    except StoreError as error:
        source.notes.add(f"left out: {error}", [line["row"]])
        return None


def resampled(documents: int) -> Floats:
    """Return how often each document counts: in all, then in resamples, [1 + RESAMPLES, D]."""
    drawn = np.random.default_rng(SEED).multinomial(
        documents, [1 / documents] * documents, RESAMPLES
    )
    return np.concatenate([np.ones((1, documents)), drawn])


def interval(values: Floats) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval of a statistic's resampled values, those from 1 on."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(low), float(high)


def _of_run(source: Source, run: Line, losses: TokenLosses) -> Iterator[Line]:
    weights = resampled(losses.documents)
    for length in _lengths(source, run, losses):
        begin = round(length / WINDOW)
        window = losses.at(length)[:, begin - 1 :].mean(1)
        values = weights @ window / weights.sum(1)
        low, high = interval(values) if losses.documents > 1 else (None, None)
        yield run | {
            "metric": "local-loss",
            "length": length,
            "value": float(values[0]),
            "low": low,
            "high": high,
            "n": losses.documents * (length - begin),
        }


def _lengths(source: Source, run: Line, losses: TokenLosses) -> Sequence[int]:
    """Return the lengths that are asked for, as far as the run has them."""
    known = losses.lengths if losses.each_length else grid(SHORTEST, losses.longest)
    if not source.lengths:
        return known
    found = {
        length
        for length in source.lengths
        if SHORTEST <= length <= losses.longest and not (losses.each_length and length not in known)
    }
    lacking = [length for length in source.lengths if length not in found]
    source.notes.add(
        "not measured at a length", [f"{run['row']} at {length}" for length in lacking]
    )
    return sorted(found)
