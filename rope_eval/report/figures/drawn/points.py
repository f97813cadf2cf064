"""Measured contexts against the bound, with their intervals and names."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style
from rope_eval.report.figures.contexts import draw_point
from rope_eval.report.figures.drawn.grid import (
    by_panel,
    columns_of,
    grid,
    label,
    legend,
    looks_of,
    room_for,
)
from rope_eval.report.series import FigureData


def draw_points(data: FigureData, width: float) -> Figure:
    """Draw measured against predicted, with the line of equality."""
    assert data.series is not None
    columns = columns_of(data.frame[data.panels].nunique(), width)
    figure, axes = grid(data, width, (4.8, 3.0), sharex=True, sharey=True)
    frame = data.frame
    low = min(frame["bound"].min(), frame["value"].min(), frame["low"].min()) / 1.25
    high = max(frame["bound"].max(), frame["value"].max(), frame["high"].max()) * 1.6
    names = list(dict.fromkeys(frame[data.series]))
    looks = dict(zip(names, looks_of(len(names)), strict=True))
    for panel, group in by_panel(data, axes):
        panel.plot([low, high], [low, high], color=style.GREY, lw=1)
        placed = group["bound"] * 1.06 ** group.groupby(group["bound"].round(3)).cumcount()
        points = group.assign(x=placed)  # those of one bound stand beside each other
        for _, point in points.iterrows():
            look = looks[point[data.series]]
            draw_point(
                panel,
                point["x"],
                (point["value"], point["low"], point["high"]),
                look["color"],
                look["marker"],
                filled=point["above"],
                beyond=point["beyond"],
            )
        style.grid_lines(panel)
        style.length_axis(panel, low, high, "", most=room_for(data, width))
        style.length_axis(panel, low, high, "", y=True)
        _name_points(panel, points, width / columns)
    label(figure, axes, data.x.label, data.y.label)
    handles = [
        Line2D([], [], color=looks[name]["color"], marker=looks[name]["marker"], ls="", label=name)
        for name in names
    ]
    handles.append(Line2D([], [], color=style.GREY, lw=1, label="measured = predicted"))
    if not frame["above"].all():
        hollow = "predicted: no more than trained at"
        handles.append(
            Line2D([], [], color=style.GREY, marker="o", mfc="white", ls="", label=hollow)
        )
    if frame["beyond"].any():
        handles.append(Line2D([], [], color=style.GREY, marker="$↑$", ls="", label="or more"))
    legend(figure, handles)
    return figure


def _name_points(axes: Axes, points: pd.DataFrame, width: float) -> None:
    """Write the rows at their points, those of one bound and context beneath each other.

    Args:
        axes: where, with its limits.
        points: in it.
        width: of the panel, in inches.
    """
    middle = math.sqrt(math.prod(axes.get_xlim()))
    for (_, value), some in points.groupby(["bound", "value"], sort=False):
        left = some["x"].min() > middle  # names stand where there is room for them
        name = axes.annotate(
            "\n".join(_short(style.plain_text(row), int(6 * width)) for row in some["row"]),
            (some["x"].min() if left else some["x"].max(), value),
            xytext=(-6 if left else 6, -4),
            textcoords="offset points",
            fontsize=7 if width > 4 else 6,
            ha="right" if left else "left",
            va="top",
        )
        name.set_in_layout(False)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
