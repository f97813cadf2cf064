"""What figures of runs share: panels in rows, a legend above, what stands at the axes."""

from __future__ import annotations

import math
import textwrap
from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style
from rope_eval.report.series import FigureData

COLUMNS = 3
WIDTH = 6.5  # inches, of the text of a page
BOUND = "predicted bound $T_{extra}$"
TRAINING = "training length"


def grid(
    data: FigureData, width: float, heights: tuple[float, float], **share: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure and the axes of its panels, with their titles.

    Args:
        data: of the figure.
        width: of the figure, in inches.
        heights: of a panel that is alone, and of a row of several.
        share: whether panels share their axes.
    """
    names = list(dict.fromkeys(data.frame[data.panels]))
    columns = columns_of(len(names), width)
    rows = math.ceil(len(names) / columns)
    height = heights[len(names) > 1] * min(1, 0.4 + 0.6 * width / WIDTH)
    figure = style.new_figure(height * rows + 0.3, width)
    panels = figure.subplots(rows, columns, squeeze=False, **share)
    for axes, name in zip(panels.flat, names, strict=False):
        fontsize = 10 if columns < 3 else 8
        most = int(100 * width / columns / fontsize)
        title = textwrap.fill(style.plain_text(name), most, break_long_words=False)
        axes.set_title(title, fontsize=fontsize)
        axes.tick_params(labelsize=10 if columns < 3 else 8)
    for index in range(len(names), panels.size):
        style.hide(panels, *divmod(index, columns))
    return figure, list(panels.flat[: len(names)])


def by_panel(data: FigureData, axes: list[Axes]) -> list[tuple[Axes, pd.DataFrame]]:
    """Return the axes of each panel with its part of the frame."""
    groups = data.frame.groupby(data.panels, sort=False)
    return [(one, group) for one, (_, group) in zip(axes, groups, strict=True)]


def columns_of(panels: int, width: float) -> int:
    """Return how many panels stand beside each other; four make a square."""
    return max(1, min(2 if panels == 4 else COLUMNS, panels, int(width // 2)))


def room_for(data: FigureData, width: float) -> int:
    """Return how many numbers have room at a panel's lengths."""
    columns = columns_of(data.frame[data.panels].nunique(), width)
    return max(3, min(8, int(1.7 * width / columns) - 1))


def legend(figure: Figure, handles: list[Any]) -> None:
    """Put a legend above the panels, which keep their height."""
    longest = max(len(handle.get_label().translate(_UNSEEN)) for handle in handles)
    fit = int((figure.get_figwidth() - 0.2) / (0.62 + 0.068 * longest))
    columns = max(1, min(3, fit))
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(handles) / columns))
    style.legend(figure, handles, columns, above=True)


def label(figure: Figure, axes: list[Axes], x: str, y: str) -> None:
    """Write what stands at the axes: at the panel, or once for all."""
    if len(axes) == 1:
        axes[0].set_xlabel(x)
        axes[0].set_ylabel(y)
        return
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)


_UNSEEN = str.maketrans("", "", "${}_\\")  # of a formula, what is not drawn


def looks_of(count: int) -> list[dict[str, Any]]:
    """Return colours with markers and dashes: no two lines differ by colour alone."""
    dashes = [ls for ls in ("-", "--", "-.") for _ in style.COLOURS]
    looks = zip(cycle(style.COLOURS), cycle(style.MARKERS), cycle(dashes), range(count))
    return [
        {"color": colour, "marker": marker, "ls": ls, "ms": 3.5, "lw": 1.4}
        for colour, marker, ls, _ in looks
    ]


def marks_of(data: FigureData) -> list[Line2D]:
    """Return the legend's entries of the vertical lines that are drawn."""
    marks: list[Line2D] = []
    low, high = data.frame[data.x.column].min(), data.frame[data.x.column].max()
    for column, ls, label in (("bound", ":", BOUND), ("train_length", "--", TRAINING)):
        values = data.frame[column].dropna()
        if values.between(low, high, inclusive="neither").any():
            marks.append(Line2D([], [], color=style.GREY, ls=ls, lw=1.3, label=label))
    return marks
