"""Figs. 2 to 4 of arXiv 2310.05209: curves and heat maps of bases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from studies.scaling_laws import scores
from studies.scaling_laws.figures import style
from studies.scaling_laws.finding import base_label
from studies.scaling_laws.runs import Curve


def draw_curves(curves: Sequence[Curve], pretrain_theta: float) -> Figure:
    """Draw perplexity (above) and accuracy of smaller (left) and larger bases.

    Args:
        curves: One a base, the smallest base first.
        pretrain_theta: The base that both sides are drawn against.
    """
    figure = style.new_figure(7.2)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    train = curves[0].checkpoint.train_length
    sides = (
        ("smaller bases", [c for c in curves if c.checkpoint.base <= pretrain_theta][::-1]),
        ("larger bases", [c for c in curves if c.checkpoint.base >= pretrain_theta]),
    )
    all_ppl = np.concatenate([scores.perplexities(c) for c in curves])
    for column, (title, side) in enumerate(sides):
        for curve, colour in zip(side, [style.BLACK, *style.shades(len(side) - 1)], strict=False):
            own = curve.checkpoint.base == pretrain_theta
            look: dict[str, Any] = {"color": colour, "lw": 2 if own else 1.5, "zorder": 3 + own}
            name = base_label(curve.checkpoint.base)
            panels[0, column].plot(curve.lengths, scores.perplexities(curve), label=name, **look)
            panels[1, column].plot(curve.lengths, scores.accuracies(curve), label=name, **look)
        panels[0, column].set_title(f"{title}, tuned at {train}")
        panels[0, column].legend(title="base", ncols=2, fontsize="small", loc="upper left")
    style.perplexity_axis(panels[0, 0], all_ppl.min(), all_ppl.max())
    panels[0, 0].set_ylabel("cumulative perplexity")
    panels[1, 0].set_ylabel("cumulative accuracy")
    for axes in panels.flat:
        style.length_axis(axes, curves[0].lengths[0], curves[0].lengths[-1], "")
        axes.axvline(train, color=style.GREY, ls=":", lw=1)
        style.grid_lines(axes)
    for axes in panels[1]:
        axes.set_xlabel("tokens seen (dotted: $T_{train}$)")
    return figure


def draw_heatmaps(curves: Sequence[Curve], pretrain_theta: float) -> Figure:
    """Draw base by length, perplexity with a logarithmic colour and accuracy; T_extra as steps."""
    figure = style.new_figure(4.6)
    panels = figure.subplots(1, 2, sharey=True)
    shared = sorted(set.intersection(*(set(c.lengths) for c in curves)))
    lengths = np.array(shared, dtype=float)
    at = [[c.index(length) for length in shared] for c in curves]
    ppl = np.array([scores.perplexities(c)[i] for c, i in zip(curves, at, strict=True)])
    accuracy = np.array([scores.accuracies(c)[i] for c, i in zip(curves, at, strict=True)])
    norm = LogNorm(ppl.min(), ppl.max())
    _heatmap(figure, panels[0], lengths, ppl, "cumulative perplexity", cmap="magma_r", norm=norm)
    _heatmap(figure, panels[1], lengths, accuracy, "cumulative accuracy", cmap="viridis")
    bounds = [c.checkpoint.bound for c in curves]
    for axes in panels:
        for row, bound in enumerate(bounds):
            axes.plot(
                [bound, bound], [row - 0.5, row + 0.5], color="white", lw=3, solid_capstyle="butt"
            )
            axes.plot(
                [bound, bound],
                [row - 0.5, row + 0.5],
                color=style.BLACK,
                lw=1.2,
                solid_capstyle="butt",
                label="$T_{extra}$" if row == 0 else None,
            )
        style.length_axis(axes, lengths[0], lengths[-1], "tokens seen (black: $T_{extra}$)")
    labels = [base_label(c.checkpoint.base) for c in curves]
    panels[0].set_yticks(range(len(curves)), labels)
    for label, curve in zip(panels[0].get_yticklabels(), curves, strict=True):
        label.set_fontweight("bold" if curve.checkpoint.base == pretrain_theta else "normal")
    panels[0].set_ylabel(
        f"base (bold: of pre-training), tuned at {curves[0].checkpoint.tune_length}"
    )
    return figure


def _heatmap(
    figure: Figure, axes: Axes, lengths: Any, values: Any, title: str, **look: Any
) -> None:
    # Cells reach halfway to the neighbouring lengths, on the logarithmic scale.
    middles = np.sqrt(lengths[1:] * lengths[:-1])
    edges = np.concatenate([lengths[:1], middles, lengths[-1:]])
    mesh = axes.pcolormesh(edges, np.arange(len(values) + 1) - 0.5, values, **look)
    bar = figure.colorbar(mesh, ax=axes, location="top", shrink=0.9, pad=0.02, label=title)
    if "norm" in look:
        low, high = values.min(), values.max()
        marks = [s * 10.0**d for d in range(-1, 12) for s in (1, 2, 3, 5)]
        bar.ax.xaxis.set_major_locator(FixedLocator([m for m in marks if low <= m <= high][:9]))
        bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.xaxis.set_minor_formatter(NullFormatter())
