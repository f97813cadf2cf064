"""Figs. 7 and 9 of arXiv 2310.05209: measured max contexts against the law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval import theory
from studies.scaling_laws.figures import style
from studies.scaling_laws.finding import base_label
from studies.scaling_laws.findings.contexts import Held


def draw_bound(points: Sequence[Held]) -> Figure:
    """Draw measured max context against T_extra; hollow where the law says T_tune."""
    figure = style.new_figure(6.4)
    axes = figure.subplots()
    bounds = [p.checkpoint.bound for p in points]
    low = min(bounds) / 1.25
    high = max(*bounds, *(p.estimate.high for p in points)) * 1.3
    axes.plot([low, high], [low, high], color=style.GREY, lw=1, label="measured = $T_{extra}$")
    tunes = sorted({p.checkpoint.tune_length for p in points})
    for tune, colour, marker in zip(tunes, style.COLOURS, style.MARKERS, strict=False):
        some = [p for p in points if p.checkpoint.tune_length == tune]
        for point, shift in zip(some, _shifts(some), strict=True):
            theorem = point.checkpoint.base > point.checkpoint.critical_base
            x = point.checkpoint.bound * shift
            _point(axes, x, point, colour, marker, filled=theorem)
            axes.annotate(
                base_label(point.checkpoint.base),
                (x, point.estimate.value),
                xytext=(7, -10),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
        axes.plot([], [], color=colour, marker=marker, ls="", label=f"tuned at {tune}")
    axes.plot(
        [],
        [],
        color=style.GREY,
        marker="o",
        mfc="white",
        ls="",
        label="up to the critical base: $T_{extra} = T_{tune}$",
    )
    if any(p.beyond for p in points):
        axes.plot([], [], color=style.GREY, marker="$↑$", ls="", label="beyond what was measured")
    style.length_axis(axes, low, high, "predicted bound $T_{extra}$, tokens")
    style.length_axis(axes, low, high, "measured max context, tokens", y=True)
    axes.set_title("Measured max context against Theorem 2 (labels: base)")
    style.grid_lines(axes)
    axes.legend(loc="upper left", fontsize="small")
    return figure


def draw_critical_base(points: Sequence[Held], pretrain_theta: float) -> Figure:
    """Draw measured max context against the base, a panel a T_tune, with the law."""
    tunes = sorted({p.checkpoint.tune_length for p in points})
    figure = style.new_figure(4.4)
    panels = figure.subplots(1, len(tunes), sharey=True, squeeze=False)[0]
    bases = [p.checkpoint.base for p in points]
    high = max(p.context.longest for p in points) * 1.6
    for axes, tune in zip(panels, tunes, strict=True):
        some = [p for p in points if p.checkpoint.tune_length == tune]
        _law(axes, some[0], bases)
        for point in some:
            _point(axes, point.checkpoint.base, point, style.RED, "o", filled=True)
        for pivot in theory.pivot_bases(tune):
            axes.axvline(pivot, color=style.GREEN, ls=":", lw=1.2)
        axes.axvline(some[0].checkpoint.critical_base, color=style.BLACK, ls="--", lw=1.2)
        style.base_axis(axes, bases)
        axes.set_title(f"tuned at {tune}")
        style.grid_lines(axes)
        style.length_axis(axes, min(tunes) / 1.3, high, "", y=True)
    panels[0].set_ylabel("max context, tokens")
    handles = [
        Line2D([], [], color=style.RED, marker="o", ls="", label="measured (↑ beyond the longest)"),
        Line2D([], [], color=style.BLUE, lw=2, label="law: $T_{extra}$"),
        Line2D([], [], color=style.BLACK, ls="--", label="critical base $β_0$"),
        Line2D([], [], color=style.GREEN, ls=":", label="pivots $β_3, β_2, β_1$"),
    ]
    style.legend(figure, handles, 4)
    return figure


def _law(axes: Axes, point: Held, bases: Sequence[float]) -> None:
    checkpoint = point.checkpoint
    grid = np.geomspace(min(bases) / 2, max(bases) * 2, 600)
    law = [
        theory.extrapolation_bound(
            base,
            head_dim=checkpoint.head_dim,
            train_length=checkpoint.train_length,
            tune_length=checkpoint.tune_length,
            pretrain_theta=checkpoint.rope.pretrain_theta,
        )
        for base in grid
    ]
    axes.plot(grid, law, color=style.BLUE, lw=2, alpha=0.8)


def _shifts(points: Sequence[Held]) -> list[float]:
    """Return factors that part points of the same T_extra."""
    seen: dict[float, int] = {}
    shifts = []
    for point in points:
        bound = round(point.checkpoint.bound, 3)
        shifts.append(1.05 ** seen.setdefault(bound, 0))
        seen[bound] += 1
    return shifts


def _point(axes: Axes, x: float, point: Held, colour: str, marker: str, *, filled: bool) -> None:
    estimate = point.estimate
    below = max(estimate.value - estimate.low, 0)
    above = max(estimate.high - estimate.value, 0)
    axes.errorbar(
        [x],
        [estimate.value],
        yerr=[[below], [above]],
        color=colour,
        marker=marker,
        mfc=colour if filled else "white",
        ms=6,
        lw=1.2,
        capsize=2.5,
        zorder=3,
    )
    if point.beyond:
        axes.annotate(
            "",
            (x, estimate.value * 1.4),
            (x, estimate.value),
            zorder=2,
            arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4},
        )
