"""Heat maps over lengths: of bases, as in Fig. 4 of arXiv 2310.05209, and of needles' depths."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from rope_eval.report.figures import style


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatMap:
    """A score of each row at each length.

    Attributes:
        label: the score.
        values: [R, L].
        perplexity: whether colours are of its logarithm, high ones dark.
        limits: values of the first and the last colour; None for the lowest and the highest.
    """

    label: str
    values: npt.ArrayLike
    perplexity: bool = False
    limits: tuple[float, float] | None = None


def draw_heatmaps(
    lengths: Sequence[float],
    rows: Sequence[str],
    maps: Sequence[HeatMap],
    *,
    label: str,
    bounds: Sequence[float] | None = None,
    bold: Collection[str] = (),
) -> Figure:
    """Draw heat maps beside each other, with the predicted bound of each row in black.

    Args:
        lengths: tokens, increasing, [L].
        rows: what the rows are, such as bases, the lowest first, [R].
        maps: what is drawn, a panel each.
        label: what stands at the rows.
        bounds: T_extra of each row in tokens, [R], or None.
        bold: rows whose name is set in bold.
    """
    figure = style.new_figure(4.6)
    panels = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for axes, one in zip(panels, maps, strict=True):
        _draw_map(figure, axes, np.asarray(lengths, dtype=np.float64), one)
        for at, bound in enumerate(bounds or ()):
            for colour, width in (("white", 3), (style.BLACK, 1.2)):
                axes.plot(
                    [bound, bound],
                    [at - 0.5, at + 0.5],
                    color=colour,
                    lw=width,
                    solid_capstyle="butt",
                )
        marked = " (black: $T_{extra}$)" if bounds else ""
        style.length_axis(axes, lengths[0], lengths[-1], f"tokens seen{marked}")
    panels[0].set_yticks(range(len(rows)), rows)
    for text, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row in bold else "normal")
    panels[0].set_ylabel(label)
    return figure


def draw_depths(
    lengths: Sequence[float],
    depths: Sequence[float],
    accuracy: npt.ArrayLike,
    *,
    bound: float | None = None,
) -> Figure:
    """Draw the accuracy of retrieval by length and by the needle's depth.

    Args:
        lengths: tokens of a probe, increasing, [L].
        depths: where the needle stands, from 0, first, to 1, last, [P].
        accuracy: the part of the needles that was found, [L, P].
        bound: T_extra in tokens, or None.
    """
    one = HeatMap(label="retrieval accuracy", values=np.transpose(accuracy), limits=(0, 1))
    figure = draw_heatmaps(
        lengths,
        [f"{depth:.0%}" for depth in depths],
        [one],
        label="depth of the needle",
        bounds=None if bound is None else [bound] * len(depths),
    )
    figure.axes[0].invert_yaxis()
    return figure


def map_cells(
    axes: Axes,
    lengths: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    limits: tuple[float, float],
    *,
    perplexity: bool,
) -> QuadMesh:
    """Draw a map's cells, those without a number (NaN) hatched.

    Args:
        axes: where.
        lengths: tokens, increasing, [L].
        values: [R, L].
        limits: values of the first and the last colour.
        perplexity: whether colours are of its logarithm, high ones dark.
    """
    # Cells reach halfway to the neighbouring lengths, on the logarithmic scale.
    middles = np.sqrt(lengths[1:] * lengths[:-1])
    edges = np.concatenate([lengths[:1], middles, lengths[-1:]])
    norm = LogNorm(*limits) if perplexity else Normalize(*limits)
    cmap = "magma_r" if perplexity else "viridis"
    rows = np.arange(len(values) + 1) - 0.5
    if np.isnan(values).any():
        axes.patch.set(hatch="////", edgecolor=style.GREY, lw=0)
    return axes.pcolormesh(edges, rows, values, cmap=cmap, norm=norm)


def colour_bar(
    figure: Figure,
    mesh: QuadMesh,
    axes: Any,
    label: str,
    *,
    perplexity: bool,
    shrink: float = 0.9,
) -> None:
    """Draw the scale of a map's colours above it.

    Args:
        figure: what it belongs to.
        mesh: of `map_cells`.
        axes: one panel, or all that share it.
        label: the score.
        perplexity: whether there are round perplexities at it.
        shrink: its length, as a part of the panels'.
    """
    bar = figure.colorbar(mesh, ax=axes, location="top", shrink=shrink, pad=0.02, label=label)
    if perplexity:
        low, high = mesh.get_clim()
        marks = [s * 10.0**d for d in range(-1, 12) for s in (1, 2, 3, 5)]
        there = style.round_numbers(low * (1 - 1e-9), high * (1 + 1e-9), marks)
        bar.ax.xaxis.set_major_locator(FixedLocator(there[:9]))
        bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.xaxis.set_minor_formatter(NullFormatter())


def _draw_map(figure: Figure, axes: Axes, lengths: npt.NDArray[np.float64], one: HeatMap) -> None:
    values = np.asarray(one.values, dtype=np.float64)
    limits = one.limits or (float(values.min()), float(values.max()))
    mesh = map_cells(axes, lengths, values, limits, perplexity=one.perplexity)
    colour_bar(figure, mesh, axes, one.label, perplexity=one.perplexity)
