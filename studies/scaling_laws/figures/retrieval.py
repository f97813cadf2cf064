"""arXiv 2405.14591: retrieval beside perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies.scaling_laws import scores
from studies.scaling_laws.figures import style
from studies.scaling_laws.finding import base_label
from studies.scaling_laws.runs import Curve

if TYPE_CHECKING:
    from studies.scaling_laws.findings.kept import Kept

MOST_EXCESS = 2.5  # nats: the axis of the loss ends here, however far it explodes


def draw_retrieval(found: Sequence[Kept], curves: Sequence[tuple[Curve, Curve]]) -> Figure:
    """Draw accuracy (above) and local loss above the in-window one, a column a T_tune.

    Args:
        found: What was asked.
        curves: Of the same checkpoints: over whole documents, and in windows.
    """
    pairs = [p for p in zip(found, curves, strict=True) if p[0].checkpoint.tuned]
    pairs = pairs or list(zip(found, curves, strict=True))
    tunes = sorted({k.checkpoint.tune_length for k, _ in pairs})
    figure = style.new_figure(6.6)
    panels = figure.subplots(2, len(tunes), sharex=True, sharey="row", squeeze=False)
    low = min(k.retrieval.lengths[0] for k, _ in pairs)
    for column, tune in enumerate(tunes):
        some = [p for p in pairs if p[0].checkpoint.tune_length == tune]
        top, bottom = panels[:, column]
        for (k, curve), colour in zip(some, style.shades(len(some)), strict=True):
            name = base_label(k.checkpoint.base)
            look: dict[str, Any] = {"color": colour, "lw": 1.6, "label": name}
            top.plot(k.retrieval.lengths, k.accuracy, marker="o", ms=3.5, **look)
            top.fill_between(
                k.retrieval.lengths, *zip(*k.intervals, strict=True), color=colour, alpha=0.1, lw=0
            )
            lengths, nll = scores.excess_curve(*curve)
            bottom.plot(lengths, nll, **look)
        top.axhline(0.5, color=style.GREY, lw=0.8)
        bottom.axhline(scores.MARGIN, color=style.GREY, lw=0.8)
        top.set_title(f"tuned at {tune}")
        bottom.legend(
            title="base",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.22),
            ncols=3,
            fontsize="small",
            frameon=False,
        )
        for axes in (top, bottom):
            axes.axvline(tune, color=style.GREY, ls=":", lw=1.2)
            style.length_axis(axes, low, curves[0][0].lengths[-1], "", columns=len(tunes))
            style.grid_lines(axes)
        bottom.set_xlabel("tokens (dotted: $T_{tune}$)")
    panels[0, 0].set(ylim=(-0.03, 1.03), ylabel="retrieval accuracy")
    panels[1, 0].set(ylim=(-0.4, MOST_EXCESS), ylabel="local loss above the\nin-window one, nats")
    return figure


def draw_lengths(found: Sequence[Kept]) -> Figure:
    """Draw three lengths a checkpoint: of B(m) ≥ 0, of retrieval, of perplexity."""
    figure = style.new_figure(0.26 * len(found) + 1.7)
    axes = figure.subplots()
    longest = max(k.held.context.longest for k in found)
    lowest = min(min(k.retrieval.lengths[0], k.feasible or longest) for k in found) / 1.3
    for row, k in enumerate(found):
        feasible = longest if k.feasible is None else k.feasible
        retrieves = max(k.retrieves.value, lowest)
        values = (feasible, retrieves, k.held.estimate.value)
        axes.plot([min(values), max(values)], [row, row], color=style.GREY, lw=1, zorder=1)
        axes.plot(feasible, row, marker="|", ms=13, mew=2.5, color=style.BLACK, zorder=2)
        axes.plot(
            retrieves,
            row,
            marker="o" if k.retrieves.value else "x",
            ms=7,
            color=style.RED,
            zorder=4,
        )
        axes.plot(k.held.estimate.value, row, marker="D", ms=6, color=style.BLUE, zorder=3)
    axes.set_yticks(range(len(found)), [k.checkpoint.name for k in found], fontsize=9)
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
