"""The table of measured max contexts: how far each run of whole books holds, and the bound."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rope_eval.errors import DataError
from rope_eval.local_loss import MARGIN, WINDOW
from rope_eval.report.choice import EVERYTHING, Choice
from rope_eval.report.formats import Cell, Interval, Place, Table
from rope_eval.report.series.contexts import OWN, definitions, measured
from rope_eval.report.series.local import EIGHTHS, whole_books
from rope_eval.report.series.source import Line, Source, labelled
from rope_eval.results.store import Store

LABELS = ("row", "books")
COLUMNS = (
    "trained at",
    "measured max context",
    "first lost window",
    "bound",
    "measured / bound",
    "against",
    "documents",
)
PAIRED, UNPAIRED = "the same tokens", "the training length"
RESOLUTION = (
    f"Resolution: lengths are eighths of an octave, a factor of {2 ** (1 / EIGHTHS):.2f}; a loss "
    f"that jumps at B is seen from B / {WINDOW:.3g} to B. Intervals: 95 %, of resampled documents."
)


def context_table(
    store: Store,
    *,
    margin: float = MARGIN,
    train_length: int | None = None,
    choice: Choice = EVERYTHING,
) -> Table:
    """Return the measured max context of every run of whole books, from its stored scores.

    Args:
        store: the runs.
        margin: nats a token, as in `rope_eval.local_loss.max_context`.
        train_length: from which windows count; None for that of each run's training.
        choice: of rows and books.

    Raises:
        DataError: where no run has a measured context.
        SpecError: a row or books that are not there.
    """
    source = Source(store, rows=choice.rows, columns=choice.columns)
    points = measured(
        source, labelled(whole_books(source)), margin=margin, train_length=train_length
    )
    if not points:
        raise DataError(
            ". ".join(
                (
                    "no run of whole books has a measured context: measure with `rope-eval ppl`, "
                    "to several times the training length",
                    *source.notes.lines(),
                )
            )
        )
    return Table(
        name="context",
        caption="\n".join(
            (
                "Measured max context, in tokens.",
                *definitions(points, margin),
                RESOLUTION,
                *source.notes.lines(),
            )
        ),
        labels=LABELS,
        columns=COLUMNS,
        rows=tuple(_cells(point) for point in points),
        intervals=_intervals(points),
    )


def _cells(point: Line) -> tuple[Cell, ...]:
    value, bound = Decimal(round(point["value"])), point["bound"]
    begin_end = point["window"]
    return (
        point["row"],
        point["task"],
        Decimal(round(point["train_length"])),
        value,
        "none" if begin_end is None else f"{begin_end[0]} to {begin_end[1]}",
        None if bound is None else Decimal(round(bound)),
        None if bound is None else Decimal(f"{point['value'] / bound:.2f}"),
        UNPAIRED if point["reference"] == OWN else PAIRED,
        Decimal(point["n"]),
    )


def _intervals(points: Sequence[Line]) -> dict[Place, Interval]:
    at = len(LABELS) + COLUMNS.index("measured max context")
    return {
        (i, at): (Decimal(round(point["low"])), Decimal(round(point["high"])))
        for i, point in enumerate(points)
        if point["n"] > 1
    }
