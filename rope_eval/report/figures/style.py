"""What all figures share: size, colours, axes of lengths, bases and perplexities, saving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from PIL import Image

from rope_eval.safe_text import shown

DPI = 110
WIDTH = 8.2  # inches: 900 pixels

# Okabe and Ito's colours, told apart by the colour-blind
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#777777"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
_AS_TEXT: Any = {"svg.fonttype": "none", "svg.hashsalt": "rope-eval", "pdf.fonttype": 42}
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure; sizes are in inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save(figure: Figure, file: Path) -> None:
    """Write a figure; its suffix says the format, and its bytes depend on nothing but the figure.

    A PNG has 256 colours, which is a third of the bytes. SVG and PDF have text as text.
    """
    if file.suffix != ".png":
        with rc_context(_AS_TEXT):
            figure.savefig(file, metadata=_UNDATED.get(file.suffix))
        return
    whole = BytesIO()
    figure.savefig(whole, format="png", dpi=DPI, metadata={"Software": None})
    colours = Image.open(whole).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(file, format="png", optimize=True)


def plain_text(text: str) -> str:
    """Return a text of someone else's as it is to be drawn: no formula begins in it."""
    return shown(text).replace("$", r"\$")


def shades(count: int) -> list[Any]:
    """Return colours from dark to light, for what is ordered, such as bases."""
    return list(colormaps["viridis"](np.linspace(0.0, 0.88, count)))


def length_axis(
    axes: Axes, low: float, high: float, label: str, *, y: bool = False, most: int = 8
) -> None:
    """Make an axis logarithmic, with plain numbers at powers of two.

    Args:
        axes: whose axis it is.
        low: its beginning, in tokens.
        high: its end, in tokens.
        label: what stands at it.
        y: whether it is the vertical one.
        most: numbers that stand at it; where there are more powers of two, every second one.
    """
    axis, limits, scale = (
        (axes.yaxis, axes.set_ylim, axes.set_yscale)
        if y
        else (axes.xaxis, axes.set_xlim, axes.set_xscale)
    )
    scale("log", base=2)
    powers = range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)
    step = 1 if len(powers) <= most else 2 if len(powers) <= 2 * most else 4
    axis.set_major_locator(FixedLocator([2.0**n for n in powers][::-step][::-1]))
    _plain(axis)
    limits(low, high)
    axis.set_label_text(label)


def base_axis(axes: Axes, bases: Sequence[float]) -> None:
    """Make the horizontal axis one of bases, logarithmic."""
    axes.set_xscale("log")
    low, high = math.log10(min(bases)), math.log10(max(bases))
    pad = 0.04 * (high - low) + 0.02
    axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
    axes.xaxis.set_major_locator(LogLocator(base=10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("base β")


def perplexity_axis(axes: Axes, low: float, high: float) -> None:
    """Make the vertical axis logarithmic, with round perplexities in plain numbers."""
    axes.set_yscale("log")
    wide = high > 30 * low
    steps = (1, 3) if wide else (1, 1.5, 2, 3, 4, 5, 7) if high > 2 * low else np.arange(1, 10, 0.5)
    decades = [10.0**d for d in range(-1, 12)]
    limits = (low / 1.04, high * 1.08)
    axes.set_ylim(*limits)
    axes.yaxis.set_major_locator(
        FixedLocator(round_numbers(*limits, [s * d for d in decades for s in steps]))
    )
    _plain(axes.yaxis)


def round_numbers(low: float, high: float, preferred: Sequence[float]) -> list[float]:
    """Return those of the preferred numbers that lie between, or others where these are too few."""
    there = [number for number in preferred if low < number < high]
    if len(there) < 2:
        there = [float(n) for n in MaxNLocator(5).tick_values(low, high) if low < n < high]
    return there


def grid_lines(axes: Axes) -> None:
    """Draw faint lines behind the data."""
    axes.set_axisbelow(True)
    axes.grid(alpha=0.25, lw=0.6)


def legend(figure: Figure, handles: Sequence[Any], columns: int, *, above: bool = False) -> None:
    """Put one legend for the figure where it covers no data.

    Args:
        figure: what it belongs to.
        handles: the lines or patches that carry the labels.
        columns: how many entries stand beside each other.
        above: whether it stands above the panels, for figures with a label of their own below.
    """
    place: Literal["outside upper center", "outside lower center"]
    place = "outside upper center" if above else "outside lower center"
    figure.legend(handles=list(handles), loc=place, ncols=columns, frameon=False, fontsize="small")


def hide(panels: npt.NDArray[Any], row: int, column: int) -> None:
    """Hide a panel, and give the one above it the tick labels that it took away."""
    panels[row, column].set_visible(False)
    if row:
        panels[row - 1, column].tick_params(labelbottom=True)


def error_bar(axes: Axes, x: float, value: float, low: float, high: float, **look: Any) -> None:
    """Draw a value with its interval, which is cut where it does not hold the value."""
    sides = [[max(value - low, 0)], [max(high - value, 0)]]
    axes.errorbar([x], [value], yerr=sides, **look)


def _plain(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())
