"""Figures for plotly, of the data that `rope_eval.report.series` makes of a store."""

from __future__ import annotations

from collections.abc import Iterator

from rope_eval.errors import DataError, SpecError
from rope_eval.report.page.drawing import DRAWN
from rope_eval.report.page.model import Figure, Panel
from rope_eval.report.runs import lines_of
from rope_eval.report.series import KINDS
from rope_eval.report.series.data import FigureData, Notes
from rope_eval.report.series.source import Source

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


def figures(source: Source) -> Iterator[Figure]:
    """Yield the figures that a store has the numbers for; the source's notes are of the last."""
    for kind, metric in FIGURES:
        source.notes = Notes()
        try:
            data = KINDS[kind](source, metric or "perplexity")
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
        title=f"Settings of a model: {data.title.lower()}"
        if data.kind == "methods"
        else data.title,
        caption="\n".join((_READ[data.mark], *(f"{note.rstrip('.')}." for note in data.notes))),
        panels=tuple(
            Panel(title=_title(title), **DRAWN[data.mark](data, of_panel))
            for title, of_panel in panels.items()
        ),
        data=(tuple(data.frame.columns), *(tuple(line.values()) for line in lines)),
    )


def _title(panel: str) -> str:
    return " – ".join(panel.splitlines()) or "nothing else set"  # of a map of bases


_TITLES = {"methods": "{}, the settings of a model"}
_READ = {
    "lines": "Bands are 95 % intervals. Dotted: the bound of the setting; dashed: the training "
    "length.",
    "heat": "A line marks the bound.",
    "points": "On the diagonal the measured context is the bound. A triangle held to the longest "
    "length that was measured; bars are 95 % intervals.",
    "profiles": "Bands are one standard deviation.",
}
