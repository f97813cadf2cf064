"""Perplexity against the base, and how fast it falls: Theorem 1 of arXiv 2310.05209."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rope_eval.report.figures import style


@dataclass(frozen=True, kw_only=True, eq=False)
class Fall:
    """How perplexity falls as the base is reduced, at one length.

    Attributes:
        label: name in the legend.
        perplexity: of each base its value and the ends of its interval, [B, 3].
        slopes: between neighbouring bases the nats a token that are gained for each factor e of
            reduction, and the ends of its interval, [B − 1, 3].
    """

    label: str
    perplexity: npt.ArrayLike
    slopes: npt.ArrayLike


def draw_by_base(
    bases: Sequence[float],
    names: Sequence[str],
    falls: Sequence[Fall],
    *,
    pivots: Sequence[float] = (),
    title: str = "",
) -> Figure:
    """Draw perplexity (above) and the slope of the loss (below) against the base.

    Args:
        bases: rope_theta, increasing, [B].
        names: what stands at the bases, [B].
        falls: what is drawn, a colour each.
        pivots: β₁, β₂ and β₃ of Theorem 1, drawn dashed.
        title: what stands above.
    """
    figure = style.new_figure(6.2)
    panels = figure.subplots(2, sharex=True)
    for one, colour, marker in zip(falls, style.COLOURS, style.MARKERS, strict=False):
        value, low, high = np.transpose(one.perplexity)
        panels[0].fill_between(bases, low, high, color=colour, alpha=0.18, lw=0)
        panels[0].plot(bases, value, color=colour, marker=marker, ms=5, label=one.label)
        slopes = np.asarray(one.slopes)
        panels[1].stairs(slopes[:, 0], bases, baseline=None, color=colour, lw=1.8)
        middles = np.sqrt(np.multiply(bases[1:], bases[:-1]))
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "ms": 4,
            "ls": "",
            "lw": 1,
            "capsize": 2,
        }
        for middle, slope in zip(middles, slopes, strict=True):
            style.error_bar(panels[1], middle, *slope, **look)
    every = np.concatenate([np.asarray(one.perplexity) for one in falls])
    style.perplexity_axis(panels[0], float(every.min()), float(every.max()))
    panels[0].set(title=title, xscale="log", ylabel="cumulative perplexity")
    panels[1].set(xlabel="base β", ylabel="nats a token gained for\neach factor e of reduction")
    panels[1].axhline(0, color=style.GREY, lw=0.8)
    panels[1].set_xticks(bases, names)
    panels[1].minorticks_off()
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
    style.legend(figure, panels[0].get_legend_handles_labels()[0], len(falls))
    return figure
