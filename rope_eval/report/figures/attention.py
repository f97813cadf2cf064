"""Mean attention scores by relative position: Figs. 6, 8 and 10 of arXiv 2310.05209."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rope_eval.report.figures import style
from rope_eval.report.tables import dimensions

COLUMNS = 3
PARTS = ("before", "beyond")
COLOURS = (style.BLUE, style.RED)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Mean attention scores of a model in bins of relative position.

    Attributes:
        title: what stands above.
        edges: bin i holds the positions ``edges[i] … edges[i + 1] - 1``, in tokens; [E + 1].
        means: mean score in logits, [2, E]: of the dimensions before d_extra, of those from it on.
        tune_length: T_tune, in tokens, drawn dotted.
        bound: T_extra, in tokens.
    """

    title: str
    edges: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    tune_length: float
    bound: float


def draw_attention(found: Sequence[Scores]) -> Figure:
    """Draw the mean scores of both parts against relative position, a panel a model."""
    rows = math.ceil(len(found) / COLUMNS)
    figure = style.new_figure(2.05 * rows + 0.9)
    panels = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False)
    last = max(int(one.edges[-1]) for one in found)
    for axes, one in zip(panels.flat, found, strict=False):
        at = np.sqrt(np.maximum(one.edges[:-1], 0.5) * (one.edges[1:] - 1).clip(0.5))
        for mean, colour in zip(one.means, COLOURS, strict=True):
            axes.plot(at, mean, color=colour, marker="o", ms=2.2, lw=1.3)
        axes.axvline(one.tune_length, color=style.GREY, ls=":", lw=1.3)
        axes.axvline(one.bound, color=style.BLACK, lw=1)
        axes.set_title(one.title, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.7, last)
        axes.xaxis.set_major_locator(FixedLocator([4.0**n for n in range(10) if 4**n <= last]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=8)
        style.grid_lines(axes)
    for index in range(len(found), panels.size):
        style.hide(panels, *divmod(index, COLUMNS))
    figure.supxlabel("relative position, tokens", fontsize=10)
    figure.supylabel("mean attention score", fontsize=10)
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3, label=f"dimensions {part} $d_{{extra}}$")
        for part, colour in zip(PARTS, COLOURS, strict=True)
    ]
    handles += [
        Line2D([], [], color=style.GREY, ls=":", label="$T_{tune}$"),
        Line2D([], [], color=style.BLACK, label="$T_{extra}$"),
    ]
    style.legend(figure, handles, 4, above=True)
    return figure


def plot_attention(facts: Mapping[str, Any], file: Path) -> None:
    """Draw mean and standard deviation of both parts of one model's scores, a panel a part.

    Args:
        facts: what `rope-eval attention --json` prints.
        file: the figure to write; its suffix says the format.
    """
    figure = style.new_figure(6.2)
    panels = figure.subplots(2, sharex=True)
    bins = facts["bins"]
    at = [math.sqrt(bin_["from"] * bin_["to"]) for bin_ in bins]
    words = dimensions(facts)
    for axes, part, colour, which in zip(panels, PARTS, COLOURS, words, strict=True):
        mean, std = (np.array([bin_[part][kind] for bin_ in bins]) for kind in ("mean", "std"))
        band = "± 1 standard deviation"
        axes.fill_between(at, mean - std, mean + std, color=colour, alpha=0.18, lw=0, label=band)
        axes.plot(at, mean, color=colour, marker="o", ms=3, label="mean")
        for length, ls, label in (
            (facts["train_length"], ":", "$T_{train}$"),
            (facts["extrapolation_bound"], "-", "predicted bound $T_{extra}$"),
        ):
            if length is not None and length <= bins[-1]["to"]:
                axes.axvline(length, color=style.GREY, ls=ls, lw=1.2, label=label)
        axes.set(title=f"dimensions {which}", ylabel="attention score")
        style.grid_lines(axes)
    panels[0].legend(fontsize="small")
    panels[1].set_xscale("symlog", base=2, linthresh=1)
    panels[1].set_xlim(0, bins[-1]["to"] + 1)
    panels[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[1].set_xlabel("relative position, tokens")
    figure.suptitle(f"{facts['model']}, rope: {facts['setting']}")
    style.save(figure, file)
