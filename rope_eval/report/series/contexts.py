"""The longest context that a model was measured to hold, against the bound of the laws."""

from __future__ import annotations

from typing import Any

import numpy as np

from rope_eval.errors import DataError
from rope_eval.local_loss import MARGIN, WINDOW, local_nll, max_context, windows
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.lines import table
from rope_eval.report.series.local import (
    SHORTEST,
    grid,
    interval,
    resampled,
    token_losses,
    whole_books,
)
from rope_eval.report.series.source import Line, Source, labelled
from rope_eval.results.documents import TokenLosses

DEFINITION = (
    "The measured max context is where the first window, from the training length on, begins whose "
    f"local loss (nats a token in (L / {WINDOW:.3g}, L], pooled over documents) is more than "
    f"{MARGIN} nats above that of the second half of the training length. It is beyond the longest "
    "length measured where no window is lost."
)
COLUMNS = (
    "panel",
    "series",
    "row",
    "model",
    "setting",
    "task",
    "base",
    "bound",
    "train_length",
    "above",
    "value",
    "low",
    "high",
    "beyond",
    "longest",
    "n",
    "key",
)
"""Of the frame: ``value`` is the context, ``above`` whether the bound is past the training."""


def contexts(source: Source, metric: str) -> FigureData:
    """Return the measured contexts of runs of whole books, a point a row.

    Raises:
        DataError: where none has a context and a bound.
    """
    points: list[Line] = []
    for line in labelled(whole_books(source)):
        law = source.laws.of(line["key"])
        if law.bound is None or law.train_length is None:
            source.notes.add("not drawn, as its bound is not known", [line["label"]])
            continue
        losses = token_losses(source, line)
        if losses is None:
            continue
        if losses.each_length:
            source.notes.add(
                "not drawn, as each of its lengths is a pass of its own", [line["label"]]
            )
            continue
        held = _held(losses, int(law.train_length))
        if held is None:
            source.notes.add(
                "not drawn, as it was measured up to less than two windows past its training "
                "length",
                [line["label"]],
            )
            continue
        points.append(
            line
            | held
            | {
                "panel": line["task"],
                "series": f"trained at {law.train_length:g}",
                "row": line["label"],
                "base": law.base,
                "bound": law.bound,
                "train_length": law.train_length,
                "above": law.bound > law.train_length,
            }
        )
    if not points:
        notes = "".join(f"\n{note}" for note in source.notes.lines())
        raise DataError(
            "nothing to draw: no run of whole books has a measured context and a bound. Measure "
            f"with `rope-eval ppl`, to several times the training length{notes}"
        )
    points.sort(key=lambda point: (point["panel"], point["train_length"], point["bound"]))
    return FigureData(
        kind="contexts",
        mark="points",
        title="Measured max context against the bound",
        frame=table(points, COLUMNS),
        x=Axis(column="bound", label="predicted bound, tokens", scale="length"),
        y=Axis(column="value", label="measured max context, tokens", scale="length"),
        series="series",
        notes=(*source.notes.lines(), DEFINITION),
    )


def _held(losses: TokenLosses, train_length: int) -> dict[str, Any] | None:
    """Return the measured context and its interval, or None where it was not measured so far."""
    half = train_length // 2
    lengths = sorted({*grid(SHORTEST, losses.longest), half, train_length})
    past = [span for span in windows(lengths) if lengths[span[0]] >= train_length]
    if half < 2 or train_length > losses.longest or len(past) < 2:
        return None
    own = [(lengths.index(half), lengths.index(train_length))]
    nll = np.cumsum(losses.at(losses.longest), axis=1, dtype=np.float64)
    sums = nll[:, np.array(lengths) - 2]
    weights = resampled(losses.documents)
    excess = local_nll(sums, lengths, past, weights) - local_nll(sums, lengths, own, weights)
    values = max_context(excess, lengths, past)
    low, high = interval(values)
    return {
        "value": float(values[0]),
        "low": low,
        "high": high,
        "beyond": bool(values[0] >= losses.longest),
        "longest": losses.longest,
        "n": losses.documents,
    }
