"""Up to which length each model holds perplexity and finds needles, as in arXiv 2405.14591."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Up to which length a model holds, in tokens.

    Attributes:
        name: of the model.
        feasible: up to where B(m) ≥ 0; None where it is beyond the longest length measured.
        retrieves: up to where it finds needles; 0 where at no length.
        context: its measured max context.
    """

    name: str
    feasible: float | None
    retrieves: float
    context: float


def draw_reaches(found: Sequence[Reach], *, shortest: float, longest: float) -> Figure:
    """Draw three lengths a model: of B(m) ≥ 0, of retrieval and of perplexity.

    Args:
        found: the models, a row each.
        shortest: the shortest length measured, in tokens.
        longest: the longest length measured, in tokens.
    """
    figure = style.new_figure(0.26 * len(found) + 1.7)
    axes = figure.subplots()
    lowest = min(shortest, *(r.feasible or longest for r in found)) / 1.3
    for row, one in enumerate(found):
        feasible = longest if one.feasible is None else one.feasible
        retrieves = max(one.retrieves, lowest)
        values = (feasible, retrieves, one.context)
        axes.plot([min(values), max(values)], [row, row], color=style.GREY, lw=1, zorder=1)
        axes.plot(feasible, row, marker="|", ms=13, mew=2.5, color=style.BLACK, zorder=2)
        marker = "o" if one.retrieves else "x"
        axes.plot(retrieves, row, marker=marker, ms=7, color=style.RED, zorder=4)
        axes.plot(one.context, row, marker="D", ms=6, color=style.BLUE, zorder=3)
    axes.set_yticks(range(len(found)), [r.name for r in found], fontsize=9)
    axes.invert_yaxis()
    style.length_axis(axes, lowest / 1.1, longest * 1.15, "tokens (at the right edge: or more)")
    axes.set_title("Up to where perplexity and retrieval hold")
    style.grid_lines(axes)
    marks: list[Any] = [
        Line2D([], [], color=style.BLACK, marker="|", ms=12, mew=2.5, ls="", label="B(m) ≥ 0"),
        Line2D([], [], color=style.RED, marker="o", ls="", label="retrieves (×: at no length)"),
        Line2D([], [], color=style.BLUE, marker="D", ls="", label="measured max context"),
    ]
    style.legend(figure, marks, 3)
    return figure
