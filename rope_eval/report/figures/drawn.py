"""`FigureData` as a matplotlib Figure: what `rope-eval figure` writes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from itertools import cycle
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rope_eval.report.figures import style
from rope_eval.report.figures.attention import COLOURS, PARTS
from rope_eval.report.figures.contexts import draw_point
from rope_eval.report.figures.heatmaps import colour_bar, map_cells
from rope_eval.report.figures.periods import draw_bars
from rope_eval.report.series import FigureData
from rope_eval.report.series.periods import NEVER, SEEN, WITHIN

COLUMNS = 3
WIDTH = 6.5  # inches, of the text of a page
BOUND = "predicted bound $T_{extra}$"
TRAINING = "training length"


def draw(data: FigureData, *, width: float = WIDTH) -> Figure:
    """Draw a figure's data, a panel for each text of its column of panels.

    Args:
        data: what is drawn.
        width: in inches; texts have the same size at any.
    """
    return _DRAWN[data.mark](data, width)


def _grid(
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
    columns = _columns(len(names), width)
    rows = math.ceil(len(names) / columns)
    height = heights[len(names) > 1] * min(1, 0.4 + 0.6 * width / WIDTH)
    figure = style.new_figure(height * rows + 0.3, width)
    panels = figure.subplots(rows, columns, squeeze=False, **share)
    for axes, name in zip(panels.flat, names, strict=False):
        fontsize = 10 if columns < 3 else 8
        most = int(130 * width / columns / fontsize)
        title = textwrap.fill(style.plain_text(name), most, break_long_words=False)
        axes.set_title(title, fontsize=fontsize)
        axes.tick_params(labelsize=10 if columns < 3 else 8)
    for index in range(len(names), panels.size):
        style.hide(panels, *divmod(index, columns))
    return figure, list(panels.flat[: len(names)])


def _panels(data: FigureData, axes: list[Axes]) -> list[tuple[Axes, pd.DataFrame]]:
    groups = data.frame.groupby(data.panels, sort=False)
    return [(one, group) for one, (_, group) in zip(axes, groups, strict=True)]


def _columns(panels: int, width: float) -> int:
    """Return how many panels stand beside each other; four make a square."""
    return max(1, min(2 if panels == 4 else COLUMNS, panels, int(width // 2)))


def _most(data: FigureData, width: float) -> int:
    """Return how many numbers have room at a panel's lengths."""
    columns = _columns(data.frame[data.panels].nunique(), width)
    return max(3, min(8, int(1.7 * width / columns) - 1))


def _legend(figure: Figure, handles: list[Any]) -> None:
    """Put a legend above the panels, which keep their height."""
    longest = max(len(handle.get_label().translate(_UNSEEN)) for handle in handles)
    fit = int((figure.get_figwidth() - 0.2) / (0.62 + 0.068 * longest))
    columns = max(1, min(3, fit))
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(len(handles) / columns))
    style.legend(figure, handles, columns, above=True)


def _label(figure: Figure, axes: list[Axes], x: str, y: str) -> None:
    """Write what stands at the axes: at the panel, or once for all."""
    if len(axes) == 1:
        axes[0].set_xlabel(x)
        axes[0].set_ylabel(y)
        return
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)


_UNSEEN = str.maketrans("", "", "${}_\\")  # of a formula, what is not drawn


# ---- lines -------------------------------------------------------------------------------------


def _lines(data: FigureData, width: float) -> Figure:
    names = list(dict.fromkeys(data.frame[data.series]))
    looks = dict(zip(names, _looks(len(names)), strict=True))
    figure, axes = _grid(data, width, (4.0, 2.7), sharex=True, sharey=True)
    for panel, group in _panels(data, axes):
        _draw_lines(panel, data, group, looks)
    _axes_of_lines(figure, axes, data, width)
    handles = [Line2D([], [], label=style.plain_text(name), **looks[name]) for name in names]
    marks = _marks(data)
    if marks and marks[-1].get_label() == TRAINING:
        marks[-1].set(marker="o", ms=9, mfc="none")
    _legend(figure, handles + marks)
    return figure


def _draw_lines(
    axes: Axes, data: FigureData, group: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    lengths = data.frame[data.x.column]
    for name, line in group.groupby(data.series, sort=False):
        look = looks[str(name)]
        axes.plot(line[data.x.column], line[data.y.column], **look)
        if line["low"].notna().all():
            axes.fill_between(
                line[data.x.column],
                line["low"].astype(float),
                line["high"].astype(float),
                color=look["color"],
                alpha=0.15,
                lw=0,
            )
        bound = line["bound"].iloc[0]
        if bound is not None and lengths.min() < bound < lengths.max():
            axes.axvline(bound, color=look["color"], ls=":", lw=1.3, zorder=0)
        if (length := line["train_length"].iloc[0]) is not None:
            _mark_training(axes, line, data, float(length), look["color"])
    for length in group["train_length"].dropna().unique():
        if lengths.min() < length < lengths.max():
            axes.axvline(length, color=style.GREY, ls="--", lw=1, zorder=0)
    style.grid_lines(axes)


def _mark_training(
    axes: Axes, line: pd.DataFrame, data: FigureData, length: float, colour: str
) -> None:
    """Draw a ring on a line at the longest length of its model's training."""
    at = line[data.x.column].to_numpy(dtype=np.float64)
    if at.min() <= length <= at.max():
        values = line[data.y.column].to_numpy(dtype=np.float64)
        log = np.log if data.y.scale == "perplexity" else np.positive
        value = np.interp(np.log(length), np.log(at), log(values))
        value = np.exp(value) if data.y.scale == "perplexity" else value
        axes.plot([length], [value], marker="o", ms=9, mfc="none", color=colour, ls="")


def _axes_of_lines(figure: Figure, axes: list[Axes], data: FigureData, width: float) -> None:
    lengths, values = data.frame[data.x.column], data.frame[data.y.column]
    for panel in axes:
        low, high = lengths.min() / 1.06, lengths.max() * 1.06
        style.length_axis(panel, low, high, "", most=_most(data, width))
    if data.y.scale == "perplexity":
        style.perplexity_axis(axes[0], float(values.min()), float(values.max()))
    elif data.y.scale == "share":
        axes[0].set_ylim(-0.03, 1.03)
    _label(figure, axes, data.x.label, data.y.label)


def _looks(count: int) -> list[dict[str, Any]]:
    """Return colours with markers and dashes: no two lines differ by colour alone."""
    dashes = [ls for ls in ("-", "--", "-.") for _ in style.COLOURS]
    looks = zip(cycle(style.COLOURS), cycle(style.MARKERS), cycle(dashes), range(count))
    return [
        {"color": colour, "marker": marker, "ls": ls, "ms": 3.5, "lw": 1.4}
        for colour, marker, ls, _ in looks
    ]


def _marks(data: FigureData) -> list[Line2D]:
    """Return the legend's entries of the vertical lines that are drawn."""
    marks: list[Line2D] = []
    low, high = data.frame[data.x.column].min(), data.frame[data.x.column].max()
    for column, ls, label in (("bound", ":", BOUND), ("train_length", "--", TRAINING)):
        values = data.frame[column].dropna()
        if values.between(low, high, inclusive="neither").any():
            marks.append(Line2D([], [], color=style.GREY, ls=ls, lw=1.3, label=label))
    return marks


# ---- maps --------------------------------------------------------------------------------------


def _maps(data: FigureData, width: float) -> Figure:
    assert data.colour is not None
    rows = data.frame.groupby(data.panels)[data.y.column].nunique().max()
    height = min(4.6, 1.2 + 0.34 * rows)
    figure, axes = _grid(data, width, (height, height), sharex=True)
    values = data.frame[data.colour.column]
    share = data.colour.scale == "share"
    limits = (0.0, 1.0) if share else (float(values.min()), float(values.max()))
    lengths = sorted(data.frame[data.x.column].unique())
    mesh = None
    for panel, group in _panels(data, axes):
        names = list(dict.fromkeys(group[data.y.column]))
        cells = group.pivot(index=data.y.column, columns=data.x.column, values=data.colour.column)
        cells = cells.reindex(index=names, columns=lengths)
        mesh = map_cells(
            panel,
            np.asarray(lengths, dtype=np.float64),
            cells.to_numpy(dtype=np.float64),
            limits,
            perplexity=data.colour.scale == "perplexity",
        )
        texts = [f"{name:.0%}" if data.y.scale == "share" else str(name) for name in names]
        panel.set_yticks(range(len(names)), texts)
        style.length_axis(panel, lengths[0], lengths[-1], "", most=_most(data, width))
        if data.y.scale == "share":
            panel.invert_yaxis()
        for at, name in enumerate(names):
            row = group[group[data.y.column] == name].iloc[0]
            _bound_of_row(panel, row["bound"], at, lengths[-1])
    _label(figure, axes, data.x.label, data.y.label)
    assert mesh is not None
    colour_bar(
        figure,
        mesh,
        axes,
        data.colour.label,
        perplexity=data.colour.scale == "perplexity",
        shrink=0.6,
    )
    if data.frame["bound"].notna().any():
        handle = Line2D([], [], color=style.BLACK, lw=1.4, label=BOUND)
        _legend(figure, [handle])
    return figure


def _bound_of_row(axes: Axes, bound: float | None, at: int, longest: float) -> None:
    if bound is None or not 0 < bound <= longest:
        return
    for colour, width in (("white", 3.0), (style.BLACK, 1.4)):
        ends = [at - 0.5, at + 0.5]
        axes.plot([bound, bound], ends, color=colour, lw=width, solid_capstyle="butt")


# ---- the others --------------------------------------------------------------------------------


def _points(data: FigureData, width: float) -> Figure:
    assert data.series is not None
    one = data.frame[data.panels].nunique() == 1
    figure, axes = _grid(data, width, (4.8, 3.0), sharex=True, sharey=True)
    frame = data.frame
    low = min(frame["bound"].min(), frame["value"].min(), frame["low"].min()) / 1.25
    high = max(frame["bound"].max(), frame["value"].max(), frame["high"].max()) * 1.6
    names = list(dict.fromkeys(frame[data.series]))
    looks = dict(zip(names, _looks(len(names)), strict=True))
    for panel, group in _panels(data, axes):
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
        style.length_axis(panel, low, high, "", most=_most(data, width))
        style.length_axis(panel, low, high, "", y=True)
        _name_points(panel, points, one)
    _label(figure, axes, data.x.label, data.y.label)
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
    _legend(figure, handles)
    return figure


def _name_points(axes: Axes, group: pd.DataFrame, one: bool) -> None:
    """Write the rows at their points, those of one bound and context beneath each other."""
    for (_, value), some in group.groupby(["bound", "value"], sort=False):
        axes.annotate(
            "\n".join(_short(style.plain_text(row)) for row in some["row"]),
            (some["x"].max(), value),
            xytext=(6, -4),
            textcoords="offset points",
            fontsize=7 if one else 6,
            va="top",
        )


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _profiles(data: FigureData, width: float) -> Figure:
    figure, axes = _grid(data, width, (4.0, 2.6), sharex=True, sharey=True)
    last = float(data.frame["to"].max())
    for panel, group in _panels(data, axes):
        for part, colour in zip(PARTS, COLOURS, strict=True):
            line = group[group["part"] == part]
            at = line[data.x.column]
            panel.fill_between(at, line["low"], line["high"], color=colour, alpha=0.15, lw=0)
            marker = "o" if part == PARTS[0] else "s"
            panel.plot(at, line["value"], color=colour, marker=marker, ms=3, lw=1.4)
        for column, ls in (("train_length", "--"), ("bound", ":")):
            length = group[column].iloc[0]
            if length is not None and length <= last:
                panel.axvline(length, color=style.GREY, ls=ls, lw=1.3, zorder=0)
        style.length_axis(panel, 0.7, last * 1.1, "", most=_most(data, width))
        style.grid_lines(panel)
    _label(figure, axes, data.x.label, f"{data.y.label}\n(band: ± 1 standard deviation)")
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=4, label=f"dimensions {part} $d_{{extra}}$")
        for part, colour, marker in zip(PARTS, COLOURS, ("o", "s"), strict=True)
    ]
    _legend(figure, handles + _marks(data))
    return figure


def _bars(data: FigureData, width: float) -> Figure:
    figure, axes = _grid(data, width, (4.2, 4.2), sharey=True)
    finite = data.frame["period"].replace(np.inf, np.nan)
    longest = float(max(finite.max(), data.frame["train_length"].max())) * 1.6
    for panel, group in _panels(data, axes):
        critical = group["critical_dimension"].iloc[0]
        draw_bars(
            panel,
            [float(period) for period in group["period"]],
            [_OF_PERIODS[name] for name in group["series"]],
            train_length=float(group["train_length"].iloc[0]),
            critical_dimension=None if pd.isna(critical) else int(critical),
            longest=longest,
        )
    axes[0].set_ylim(data.frame["dimension"].max() + 2, 0)
    label = f"{data.x.label} (grey: trained at; dashed: $d_{{extra}}$)"
    _label(figure, axes, label, data.y.label)
    there = [name for name in _OF_PERIODS if (data.frame["series"] == name).any()]
    _legend(figure, [Patch(color=_OF_PERIODS[name], label=name) for name in there])
    return figure


_OF_PERIODS = {WITHIN: style.BLUE, SEEN: style.SKY, NEVER: style.RED}
_DRAWN: Mapping[str, Callable[[FigureData, float], Figure]] = MappingProxyType(
    {"lines": _lines, "heat": _maps, "points": _points, "profiles": _profiles, "bars": _bars}
)
