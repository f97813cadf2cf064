"""Figures of curves, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter


def plot_curves(curves: Mapping[str, Mapping[str, Any]], title: str, file: Path) -> None:
    """Draw perplexity against length, with each model's predicted bound, as in the paper's Fig. 1.

    Args:
        curves: facts as `rope_eval.runner.curve` returns them, by the name of the line.
        title: what stands above.
        file: the PNG to write.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        (line,) = axes.plot(curve["lengths"], curve["perplexity"], marker="o", ms=4, label=name)
        bound = curve["extrapolation_bound"]
        if bound is not None and curve["lengths"][0] < bound < curve["lengths"][-1]:
            axes.axvline(bound, color=line.get_color(), ls=":", lw=1.2)
    axes.set(title=title, xlabel="tokens seen", ylabel="cumulative perplexity")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(_ticks(curves))
    axes.plot([], [], color="grey", ls=":", label="predicted bound $T_{extra}$")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def _ticks(curves: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a locator of round perplexities that gives a narrow range more than one label."""
    from matplotlib.ticker import FixedLocator

    values = [p for curve in curves.values() for p in curve["perplexity"]]
    low, high = min(values), max(values)
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high < 100 * low else (1, 3)
    decades = (10.0**d for d in range(-1, 12))
    return FixedLocator([s * d for d in decades for s in steps if low / 1.3 < s * d < high * 1.3])
