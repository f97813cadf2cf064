"""Maps over lengths: of bases, of a needle's depths, with the bound of each row."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style
from rope_eval.report.figures.drawn.grid import BOUND, by_panel, grid, label, legend, room_for
from rope_eval.report.figures.heatmaps import colour_bar, map_cells
from rope_eval.report.series import FigureData


def draw_maps(data: FigureData, width: float) -> Figure:
    """Draw a map a panel, with one scale of colours for all."""
    assert data.colour is not None
    rows = data.frame.groupby(data.panels)[data.y.column].nunique().max()
    height = min(4.6, 1.2 + 0.34 * rows)
    figure, axes = grid(data, width, (height, height), sharex=True)
    values = data.frame[data.colour.column]
    share = data.colour.scale == "share"
    limits = (0.0, 1.0) if share else (float(values.min()), float(values.max()))
    if limits[0] == limits[1]:
        limits = (limits[0] / 1.04, limits[1] * 1.04)
    lengths = sorted(data.frame[data.x.column].unique())
    mesh = None
    for panel, group in by_panel(data, axes):
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
        style.length_axis(panel, lengths[0], lengths[-1], "", most=room_for(data, width))
        if data.y.scale == "share":
            panel.invert_yaxis()
        for at, name in enumerate(names):
            row = group[group[data.y.column] == name].iloc[0]
            _bound_of_row(panel, row["bound"], at, lengths[-1])
    label(figure, axes, data.x.label, data.y.label)
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
        legend(figure, [handle])
    return figure


def _bound_of_row(axes: Axes, bound: float | None, at: int, longest: float) -> None:
    if bound is None or not 0 < bound <= longest:
        return
    for colour, width in (("white", 3.0), (style.BLACK, 1.4)):
        ends = [at - 0.5, at + 0.5]
        axes.plot([bound, bound], ends, color=colour, lw=width, solid_capstyle="butt")
