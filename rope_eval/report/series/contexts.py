"""The longest context that a model was measured to hold, against the bound of the laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.errors import SpecError
from rope_eval.local_loss import MARGIN, WINDOW, Floats, local_nll, max_context, windows
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
    f"A context ends where the first window (L / {WINDOW:.3g}, L] past the training length "
    "begins that costs {margin:g} nats a token more than {reference}; beyond the longest measured "
    "where none does."
)
SAME = "the same tokens after no more than the training length"
OWN = "the last half of the training length"
IN_WINDOW = "in_window"
_ALIKE = ("fingerprint", "rope", "dtype")  # of the requests, where losses are of one model
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
    "reference",
    "longest",
    "n",
    "key",
)
"""Of the frame: ``value`` is the context, ``above`` whether the bound is past the training,
``reference`` what the local loss is compared with."""


def contexts(source: Source, metric: str) -> FigureData:
    """Return the measured contexts of runs of whole books, a point a row.

    Raises:
        DataError: where none has a context and a bound.
        SpecError: where lengths were chosen.
    """
    if source.lengths:
        raise SpecError("a measured context is of all lengths of a run: leave the lengths out")
    bounded = []
    for line in labelled(whole_books(source)):
        law = source.laws.of(line["key"])
        if law.bound is None or law.train_length is None:
            source.notes.add("not drawn, as its bound is not known", [line["label"]])
        else:
            bounded.append(line)
    points = measured(source, bounded)
    if not points:
        raise source.nothing(
            "nothing to draw: no run of whole books has a measured context and a bound: measure "
            "with `rope-eval ppl`, to several times the training length"
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
        notes=(*source.notes.lines(), *definitions(points)),
    )


def measured(
    source: Source,
    lines: Sequence[Line],
    *,
    margin: float = MARGIN,
    train_length: int | None = None,
) -> list[Line]:
    """Return the measured contexts of runs of whole books; a run without one is noted.

    Args:
        source: of the lines.
        lines: of `whole_books`, with their labels.
        margin: nats a token that a window may cost more before its context counts as lost.
        train_length: from which windows count, in tokens; None for that of each run's training.

    Returns:
        The lines, with `COLUMNS` and, where a window is lost, its ``window`` (L / 1.19, L].
    """
    points: list[Line] = []
    for line in lines:
        law = source.laws.of(line["key"])
        trained = train_length or law.train_length
        if trained is None:
            source.notes.add(
                "no context, as the length of its training is not known", [line["label"]]
            )
            continue
        losses = token_losses(source, line)
        if losses is None:
            continue
        if losses.each_length:
            source.notes.add(
                "no context, as each of its lengths is a pass of its own", [line["label"]]
            )
            continue
        held = _held(losses, int(trained), _in_windows(source, line, trained), margin)
        if held is None:
            source.notes.add(
                "no context, as it was measured up to less than two windows past its training "
                "length",
                [line["label"]],
            )
            continue
        points.append(
            line
            | held
            | {
                "panel": line["task"],
                "series": f"trained at {trained:g}",
                "row": line["label"],
                "base": law.base,
                "bound": law.bound,
                "train_length": trained,
                "above": law.bound is not None and law.bound > trained,
            }
        )
    return points


def definitions(points: Sequence[Line], margin: float = MARGIN) -> list[str]:
    """Return the definition, or both where some points have no in-window losses."""
    there = dict.fromkeys(point["reference"] for point in points)
    said = [DEFINITION.format(margin=margin, reference=reference) for reference in there]
    if OWN not in there:
        return said
    without = [point["row"] for point in points if point["reference"] == OWN]
    return [
        *said,
        "not paired, so take many documents, or add a plan's `in_window` on the same ones: "
        + "; ".join(without),
    ]


def _in_windows(source: Source, line: Line, train_length: float) -> Floats | None:
    """Return what the tokens of a run cost in windows of the training length, [D, T − 1].

    It is of a plan's `in_window` with the same model, setting and documents; None where there is
    none.
    """
    run = source.runs[line["key"]]
    lost = {one["sha256"] for one in run.results.get("failed", [])}
    wanted = [d["sha256"] for d in run.request["documents"] if d["sha256"] not in lost]
    for other in source.runs.values():
        if other.kind != IN_WINDOW or other.status != "done":
            continue
        there = [document["sha256"] for document in other.request["documents"]]
        alike = all(other.request.get(name) == run.request.get(name) for name in _ALIKE)
        if alike and set(wanted) <= set(there) and train_length - other.request["window"] in (0, 1):
            rows = list(dict.fromkeys(there))  # a document that is there twice is measured once
            nll = source.store.arrays(other.key)["nll"]
            return np.stack([nll[rows.index(digest)] for digest in wanted])
    return None


def _held(
    losses: TokenLosses, train_length: int, in_windows: Floats | None, margin: float
) -> dict[str, Any] | None:
    """Return the measured context and its interval, or None where it was not measured so far."""
    half, longest = train_length // 2, losses.longest
    if in_windows is not None:
        longest = min(longest, in_windows.shape[1] + 1)
    lengths = sorted({n for n in (*grid(SHORTEST, longest), half, train_length) if n > 1})
    past = [span for span in windows(lengths) if lengths[span[0]] >= train_length]
    if half < 2 or train_length > longest or len(past) < 2:
        return None
    weights = resampled(losses.documents)
    local = local_nll(_sums(losses.at(longest), lengths), lengths, past, weights)
    if in_windows is not None:
        local -= local_nll(_sums(in_windows, lengths), lengths, past, weights)
    else:
        own = [(lengths.index(half), lengths.index(train_length))]
        local -= local_nll(_sums(losses.at(longest), lengths), lengths, own, weights)
    values = max_context(local, lengths, past, margin)
    low, high = interval(values)
    return {
        "value": float(values[0]),
        "low": low,
        "high": high,
        "beyond": bool(values[0] >= longest),
        "window": next(
            ((lengths[i], lengths[j]) for i, j in past if lengths[i] == values[0]), None
        ),
        "reference": OWN if in_windows is None else SAME,
        "longest": longest,
        "n": losses.documents,
    }


def _sums(nll: npt.NDArray[np.floating], lengths: list[int]) -> Floats:
    """Return nats up to each length, [D, L], of nats of each token but the first."""
    found: Floats = np.cumsum(nll, axis=1, dtype=np.float64)[:, np.array(lengths) - 2]
    return found
