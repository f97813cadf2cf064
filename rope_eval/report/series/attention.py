"""Stored attention profiles: mean scores by relative position, before and beyond d_extra."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rope_eval.errors import DataError
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.laws import Law
from rope_eval.report.series.lines import table
from rope_eval.report.series.source import Line, Source, labelled, newest
from rope_eval.results.documents import of_known_shape

PARTS = ("before", "beyond")
COLUMNS = (
    "panel",
    "series",
    "row",
    "model",
    "setting",
    "task",
    "part",
    "from",
    "to",
    "position",
    "value",
    "std",
    "low",
    "high",
    "n",
    "critical_dimension",
    "bound",
    "train_length",
    "key",
)
"""Of the frame: ``low`` and ``high`` are a standard deviation away, ``position`` a bin's middle."""


def attention(source: Source, metric: str) -> FigureData:
    """Return the mean scores of both parts of the dimensions, a panel a row.

    Raises:
        DataError: where the store has none.
        SpecError: a length that nothing was measured at.
    """
    found = source.profiles()
    if not found:
        raise DataError(
            "nothing to draw: the store has no attention scores: measure them with a plan's "
            "`attention`"
        )
    for line in found:
        line |= {"value": math.nan, "started": source.runs[line["key"]].provenance.get("started")}
    found = newest(labelled(found), "label", "task", "length", notes=source.notes)
    differ = [name for name in ("task", "length") if len({line[name] for line in found}) > 1]
    for line in found:
        more = [f"{line[name]} tokens" if name == "length" else line[name] for name in differ]
        line["panel"] = ", ".join(filter(None, (line["label"], ", ".join(more))))
    return FigureData(
        kind="attention",
        mark="profiles",
        title="Attention scores by relative position",
        frame=table([bar for line in found for bar in _bars(source, line)], COLUMNS),
        x=Axis(column="position", label="relative position, tokens", scale="length"),
        y=Axis(column="value", label="mean attention score"),
        series="series",
        notes=source.notes.lines(),
    )


def _bars(source: Source, line: Line) -> list[Line]:
    run = source.runs[line["key"]]
    with of_known_shape(run):
        return list(_bins(run.results, source.laws.of(run.key), line))


def _bins(results: dict[str, Any], law: Law, line: Line) -> Iterator[Line]:
    for part in PARTS:
        for one in results["bins"]:
            mean, std = one[part]["mean"], one[part]["std"]
            yield line | {
                "series": f"dimensions {part} d_extra",
                "part": part,
                "from": one["from"],
                "to": one["to"],
                "position": math.sqrt(max(one["from"], 0.5) * max(one["to"], 0.5)),
                "value": mean,
                "std": std,
                "low": mean - std,
                "high": mean + std,
                "n": one["count"],
                "critical_dimension": results["critical_dimension"],
                "bound": law.bound,
                "train_length": law.train_length,
            }
