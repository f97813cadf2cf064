"""Theorem 1 of arXiv 2310.05209: perplexity of smaller bases, and how fast it falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from studies.scaling_laws.figures import style
from studies.scaling_laws.finding import base_label

if TYPE_CHECKING:
    from studies.scaling_laws.findings.pivots import Improvement


def draw_pivots(
    bases: Sequence[float], results: Sequence[Improvement], pivots: Sequence[float]
) -> Figure:
    """Draw perplexity (above) and the slope of the loss (below) against the base."""
    figure = style.new_figure(6.2)
    panels = figure.subplots(2, sharex=True)
    for result, colour, marker in zip(results, style.COLOURS, style.MARKERS, strict=False):
        values, lows, highs = (
            np.exp([getattr(e, name) for e in result.nll]) for name in ("value", "low", "high")
        )
        panels[0].fill_between(bases, lows, highs, color=colour, alpha=0.18, lw=0)
        panels[0].plot(
            bases, values, color=colour, marker=marker, ms=5, label=f"at {result.length} tokens"
        )
        slopes = [s.slope for s in result.segments]
        middles = [np.sqrt(s.low * s.high) for s in result.segments]
        panels[1].stairs([s.value for s in slopes], bases, baseline=None, color=colour, lw=1.8)
        panels[1].errorbar(
            middles,
            [s.value for s in slopes],
            yerr=[
                [max(s.value - s.low, 0) for s in slopes],
                [max(s.high - s.value, 0) for s in slopes],
            ],
            color=colour,
            marker=marker,
            ms=4,
            ls="",
            lw=1,
            capsize=2,
        )
    low = min(e.low for r in results for e in r.nll)
    high = max(e.high for r in results for e in r.nll)
    style.perplexity_axis(panels[0], float(np.exp(low)), float(np.exp(high)))
    panels[0].set(title="Perplexity of smaller bases, and how fast it falls", xscale="log")
    panels[0].set_ylabel("cumulative perplexity")
    panels[1].set_ylabel("nats a token gained for\neach factor e of reduction")
    panels[1].axhline(0, color=style.GREY, lw=0.8)
    panels[1].xaxis.set_major_locator(FixedLocator(list(bases)))
    panels[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: base_label(round(value, 6))))
    panels[1].minorticks_off()
    panels[1].set_xlabel("base β")
    for axes in panels:
        for pivot in pivots:
            axes.axvline(pivot, color=style.BLACK, ls="--", lw=1, zorder=0)
        style.grid_lines(axes)
    for number, pivot in enumerate(pivots, start=1):
        panels[0].annotate(
            f"$β_{number}$",
            (pivot, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            va="top",
            fontsize=10,
        )
    style.legend(figure, panels[0].get_legend_handles_labels()[0], len(results))
    return figure
