"""Scores against length in rows and columns of panels: Figs. 2, 3, 8 and 11 of arXiv 2310.05209."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rope_eval.report.figures import style


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A score against length.

    Attributes:
        label: name in the legend; lines of one name share their entry.
        lengths: tokens, increasing, [L].
        values: the score at each length, [L].
        band: the lowest and the highest value of an interval at each length, [L, 2], or None.
        look: matplotlib's properties of a line, such as ``color`` and ``ls``.
    """

    label: str
    lengths: npt.ArrayLike
    values: npt.ArrayLike
    band: npt.ArrayLike | None = None
    look: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Lines that are compared with each other.

    Attributes:
        lines: what is drawn.
        title: what stands above.
        train_length: tokens of the training or tuning, drawn dotted, or None.
        bound: the predicted bound T_extra in tokens, drawn in grey, or None.
    """

    lines: Sequence[Line]
    title: str = ""
    train_length: float | None = None
    bound: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """The vertical axis of a row of panels.

    Attributes:
        label: the score and its unit.
        perplexity: whether it is logarithmic, with round perplexities.
        limits: its ends; None for those of the values.
        level: where a horizontal line is drawn, or None.
    """

    label: str
    perplexity: bool = False
    limits: tuple[float, float] | None = None
    level: float | None = None


def draw_panels(
    rows: Sequence[Sequence[Panel]],
    scales: Sequence[Scale],
    *,
    label: str,
    first: float | None = None,
    height: float = 2.6,
    legend: Literal["figure", "columns"] = "figure",
    legend_title: str | None = None,
    legend_columns: int | None = None,
) -> Figure:
    """Draw scores against length, which all panels share.

    Args:
        rows: the panels, a row after another; a row may be shorter than the others.
        scales: the vertical axis of each row, or one that all rows share.
        label: what stands at the lengths.
        first: the shortest length that is shown, in tokens; None for the shortest of the lines.
        height: of a row, in inches.
        legend: one for the figure, above it, or one for each column, below its last panel.
        legend_title: what the names of the lines are, where each column has its legend.
        legend_columns: how many names stand beside each other there; None for 3 or 4.
    """
    columns = max(map(len, rows))
    figure = style.new_figure(height * len(rows) + 0.8)
    share: Literal["all", "row"] = "all" if len(scales) == 1 else "row"
    panels = figure.subplots(len(rows), columns, sharex=True, sharey=share, squeeze=False)
    lines = [line for row in rows for panel in row for line in panel.lines]
    low = min(np.min(line.lengths) for line in lines) if first is None else first
    high = max(np.max(line.lengths) for line in lines)
    seen: dict[str, Any] = {}
    for number, row in enumerate(rows):
        scale = scales[number % len(scales)]
        for axes, panel in zip(panels[number], row, strict=False):
            _draw_panel(axes, panel, seen)
            if scale.level is not None:
                axes.axhline(scale.level, color=style.GREY, lw=0.8)
            style.length_axis(axes, low, high, "")
            axes.tick_params(labelsize=8 if columns > 2 else 10)
        for column in range(len(row), columns):
            style.hide(panels, number, column)
    names = {scale.label for scale in scales}
    for number, scale in enumerate(scales):
        drawn = rows if len(scales) == 1 else rows[number : number + 1]
        _scale(panels[number, 0], scale, [line for row in drawn for p in row for line in p.lines])
        if len(names) > 1:
            panels[number, 0].set_ylabel(scale.label)
    if len(names) == 1:
        figure.supylabel(scales[0].label, fontsize=10)
    if legend == "figure":
        figure.supxlabel(label, fontsize=10)
        style.legend(figure, list(seen.values()), min(5, len(seen)), above=True)
        return figure
    for column in range(columns):
        last = max(number for number, row in enumerate(rows) if len(row) > column)
        axes = panels[last, column]
        axes.set_xlabel(label)
        axes.legend(
            title=legend_title,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.65 / height),
            ncols=legend_columns or (4 if columns < 3 else 3),
            fontsize="small",
            frameon=False,
        )
    return figure


def _draw_panel(axes: Axes, panel: Panel, seen: dict[str, Any]) -> None:
    for number, line in enumerate(panel.lines):
        look = {"color": style.COLOURS[number % len(style.COLOURS)], "lw": 1.5, **line.look}
        (drawn,) = axes.plot(line.lengths, line.values, label=line.label, **look)
        seen.setdefault(line.label, drawn)
        if line.band is not None:
            low, high = np.transpose(line.band)
            axes.fill_between(line.lengths, low, high, color=look["color"], alpha=0.1, lw=0)
    for length, ls, lw in ((panel.train_length, ":", 1.2), (panel.bound, "-", 1.0)):
        if length is not None:
            axes.axvline(length, color=style.GREY, ls=ls, lw=lw, zorder=0)
    axes.set_title(panel.title, fontsize=10)
    style.grid_lines(axes)


def _scale(axes: Axes, scale: Scale, lines: Sequence[Line]) -> None:
    if scale.perplexity:
        low = min(float(np.min(line.values)) for line in lines)
        style.perplexity_axis(axes, low, max(float(np.max(line.values)) for line in lines))
    if scale.limits is not None:
        axes.set_ylim(*scale.limits)
