"""Attention scores by relative position, of both parts of the dimensions."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style
from rope_eval.report.figures.attention import COLOURS, PARTS
from rope_eval.report.figures.drawn.grid import by_panel, grid, label, legend, marks_of, room_for
from rope_eval.report.series import FigureData


def draw_profiles(data: FigureData, width: float) -> Figure:
    """Draw the means of both parts, with a standard deviation around each."""
    figure, axes = grid(data, width, (4.0, 2.6), sharex=True, sharey=True)
    last = float(data.frame["to"].max())
    for panel, group in by_panel(data, axes):
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
        style.length_axis(panel, 0.7, last * 1.1, "", most=room_for(data, width))
        style.grid_lines(panel)
    label(figure, axes, data.x.label, f"{data.y.label}\n(band: ± 1 standard deviation)")
    handles = [
        Line2D([], [], color=colour, marker=marker, ms=4, label=f"dimensions {part} $d_{{extra}}$")
        for part, colour, marker in zip(PARTS, COLOURS, ("o", "s"), strict=True)
    ]
    legend(figure, handles + marks_of(data))
    return figure
