"""Figures for plotly, of the data that `rope_eval.report.series` makes of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rope_eval.errors import DataError, SpecError
from rope_eval.report.page.drawing import DRAWN
from rope_eval.report.page.model import Figure, Panel
from rope_eval.report.runs import lines_of
from rope_eval.report.series import figure_data

if TYPE_CHECKING:
    from rope_eval.report.series.data import FigureData
    from rope_eval.results.store import Store

FIGURES = (
    ("curves", "perplexity"),
    ("curves", "accuracy"),
    ("curves", "local-loss"),
    ("methods", "perplexity"),
    ("bases", "perplexity"),
    ("contexts", None),
    ("retrieval", None),
    ("attention", None),
)
"""Which figures there are, where the store has what they need: kind and metric."""


def figures(store: Store) -> Iterator[Figure]:
    """Yield the figures that a store has the numbers for."""
    for kind, metric in FIGURES:
        try:
            data = figure_data(kind, store, metric=metric)
        except (DataError, SpecError):
            continue  # nothing was measured that it would show
        yield figure("-".join(filter(None, ("figure", kind, metric))), data)


def figure(name: str, data: FigureData) -> Figure:
    """Return a figure of its data, under a name."""
    lines = [dict(line) for line in lines_of(data.frame)]
    panels: dict[str, list[dict[str, object]]] = {}
    for line in lines:
        panels.setdefault(str(line[data.panels]), []).append(line)
    return Figure(
        name=name,
        title=data.title,
        caption="\n".join((_READ[data.mark], *(f"{note}." for note in data.notes))),
        panels=tuple(
            Panel(title=" – ".join(title.splitlines()), **DRAWN[data.mark](data, of_panel))
            for title, of_panel in panels.items()
        ),
        data=(tuple(data.frame.columns), *(tuple(line.values()) for line in lines)),
    )


_READ = {
    "lines": "Bands are 95 % intervals. Dotted: the bound of the setting; dashed: the training "
    "length.",
    "heat": "A line marks the bound.",
    "points": "On the diagonal the measured context is the bound. A triangle held to the longest "
    "length that was measured; bars are 95 % intervals.",
    "profiles": "Bands are one standard deviation.",
}
