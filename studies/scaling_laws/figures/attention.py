"""Figs. 6, 8 and 10 of arXiv 2310.05209: mean attention score against relative position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from studies.scaling_laws.figures import style
from studies.scaling_laws.runs import Attention

COLUMNS = 3
PARTS = (("before", style.BLUE), ("beyond", style.RED))


def draw_attention(found: Sequence[tuple[str, Attention]]) -> Figure:
    """Draw the mean scores of both parts, a panel each, all documents, layers and heads pooled."""
    rows = math.ceil(len(found) / COLUMNS)
    figure = style.new_figure(2.05 * rows + 0.9)
    panels = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False)
    last = max(int(attention.edges[-1]) for _, attention in found)
    for axes, (name, attention) in zip(panels.flat, found, strict=False):
        at = np.sqrt(np.maximum(attention.edges[:-1], 0.5) * (attention.edges[1:] - 1).clip(0.5))
        means = attention.sums.sum(0) / (len(attention.sums) * attention.counts)
        for mean, (_, colour) in zip(means, PARTS, strict=True):
            axes.plot(at, mean, color=colour, marker="o", ms=2.2, lw=1.3)
        checkpoint = attention.checkpoint
        axes.axvline(checkpoint.tune_length, color=style.GREY, ls=":", lw=1.3)
        axes.axvline(checkpoint.bound, color=style.BLACK, lw=1)
        axes.set_title(name, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.7, last)
        axes.xaxis.set_major_locator(FixedLocator([4.0**n for n in range(10) if 4**n <= last]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=8)
        style.grid_lines(axes)
    style.hide_rest(panels, len(found))
    figure.supxlabel("relative position, tokens", fontsize=10)
    figure.supylabel("mean attention score", fontsize=10)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3, label=f"dimensions {part} $d_{{extra}}$")
        for part, colour in PARTS
    ]
    handles += [
        Line2D([], [], color=style.GREY, ls=":", label="$T_{tune}$"),
        Line2D([], [], color=style.BLACK, label="$T_{extra}$"),
    ]
    style.legend(figure, handles, 4, above=True)
    return figure
