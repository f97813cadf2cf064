"""Perplexity against length, a line a model: Fig. 1 of arXiv 2310.05209."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rope_eval.report.figures import style


def draw_curves(curves: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Draw perplexity against length, with each model's predicted bound in its colour.

    Args:
        curves: facts as `rope_eval.runner.curve` returns them, by the name of the line: lengths in
            tokens, the cumulative perplexity at each, the bound in tokens or None.
        title: what stands above.
    """
    figure = style.new_figure(5.1)
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        lengths = curve["lengths"]
        colour = style.COLOURS[number % len(style.COLOURS)]
        axes.plot(lengths, curve["perplexity"], color=colour, marker="o", ms=4, label=name)
        bound = curve["extrapolation_bound"]
        if bound is not None and lengths[0] < bound < lengths[-1]:
            axes.axvline(bound, color=colour, ls=":", lw=1.2)
    lengths = [n for curve in curves.values() for n in curve["lengths"]]
    values = [p for curve in curves.values() for p in curve["perplexity"]]
    style.length_axis(axes, min(lengths) / 1.1, max(lengths) * 1.1, "tokens seen")
    style.perplexity_axis(axes, min(values), max(values))
    axes.set(title=title, ylabel="cumulative perplexity")
    axes.plot([], [], color=style.GREY, ls=":", label="predicted bound $T_{extra}$")
    style.grid_lines(axes)
    axes.legend(fontsize="small")
    return figure


def plot_curves(curves: Mapping[str, Mapping[str, Any]], title: str, file: Path) -> None:
    """Write the figure of `draw_curves`; the file's suffix says the format."""
    style.save(draw_curves(curves, title), file)
