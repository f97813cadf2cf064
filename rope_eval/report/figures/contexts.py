"""Measured max contexts against the laws: Figs. 7 and 9 of arXiv 2310.05209."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredContext:
    """The longest context that a model was measured to hold, in tokens.

    Attributes:
        base: its rope_theta.
        bound: the predicted T_extra.
        value: what was measured.
        low: lower end of its interval.
        high: upper end of its interval.
        beyond: whether the context is longer than anything that was measured.
        above: whether the base is above the critical one, so that T_extra is more than T_tune.
    """

    base: float
    bound: float
    value: float
    low: float
    high: float
    beyond: bool = False
    above: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """What the theorems say of a tuning length, and what was measured.

    Attributes:
        title: of the panel.
        contexts: what was measured, a base each.
        bases: rope_theta along the law's curve, [N].
        bounds: T_extra in tokens along it, [N].
        critical_base: β₀ of Theorem 3.
        pivots: β₁, β₂ and β₃ of Theorem 1.
    """

    title: str
    contexts: Sequence[MeasuredContext]
    bases: Sequence[float]
    bounds: Sequence[float]
    critical_base: float
    pivots: Sequence[float]


def draw_against_bound(
    groups: Mapping[str, Sequence[MeasuredContext]], names: Mapping[float, str], *, title: str = ""
) -> Figure:
    """Draw measured max contexts against T_extra, with the line of equality (Fig. 7).

    Points are hollow where the base is not above the critical one.

    Args:
        groups: the contexts by what they have in common, such as a tuning length.
        names: what stands at a point, by its base.
        title: what stands above.
    """
    figure = style.new_figure(6.4)
    axes = figure.subplots()
    points = [point for group in groups.values() for point in group]
    low = min(p.bound for p in points) / 1.25
    high = max(max(p.bound, p.high) for p in points) * 1.3
    axes.plot([low, high], [low, high], color=style.GREY, lw=1, label="measured = $T_{extra}$")
    looks = zip(groups.items(), style.COLOURS, style.MARKERS, strict=False)
    for (label, group), colour, marker in looks:
        seen: dict[float, int] = {}
        for point in group:
            # Points of the same T_extra stand beside each other.
            same = round(point.bound, 3)
            x = point.bound * 1.05 ** seen.setdefault(same, 0)
            seen[same] += 1
            draw_point(
                axes,
                x,
                (point.value, point.low, point.high),
                colour,
                marker,
                filled=point.above,
                beyond=point.beyond,
            )
            axes.annotate(
                names[point.base],
                (x, point.value),
                xytext=(7, -10),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
        axes.plot([], [], color=colour, marker=marker, ls="", label=label)
    hollow = "up to the critical base: $T_{extra} = T_{tune}$"
    axes.plot([], [], color=style.GREY, marker="o", mfc="white", ls="", label=hollow)
    if any(p.beyond for p in points):
        axes.plot([], [], color=style.GREY, marker="$↑$", ls="", label="beyond what was measured")
    style.length_axis(axes, low, high, "predicted bound $T_{extra}$, tokens")
    style.length_axis(axes, low, high, "measured max context, tokens", y=True)
    axes.set_title(title)
    style.grid_lines(axes)
    axes.legend(loc="upper left", fontsize="small")
    return figure


def draw_against_base(laws: Sequence[Law], *, shortest: float, longest: float) -> Figure:
    """Draw measured max contexts against the base, with the law, a panel each (Fig. 9).

    Args:
        laws: what the panels show.
        shortest: where the axis of lengths begins, in tokens.
        longest: where it ends.
    """
    figure = style.new_figure(4.4)
    panels = figure.subplots(1, len(laws), sharey=True, squeeze=False)[0]
    bases = [point.base for law in laws for point in law.contexts]
    for axes, law in zip(panels, laws, strict=True):
        axes.plot(law.bases, law.bounds, color=style.BLUE, lw=2, alpha=0.8)
        for point in law.contexts:
            value = (point.value, point.low, point.high)
            draw_point(axes, point.base, value, style.RED, "o", filled=True, beyond=point.beyond)
        for pivot in law.pivots:
            axes.axvline(pivot, color=style.GREEN, ls=":", lw=1.2)
        axes.axvline(law.critical_base, color=style.BLACK, ls="--", lw=1.2)
        style.base_axis(axes, bases)
        axes.set_title(law.title)
        style.grid_lines(axes)
        style.length_axis(axes, shortest, longest, "", y=True)
    panels[0].set_ylabel("max context, tokens")
    handles = [
        Line2D([], [], color=style.RED, marker="o", ls="", label="measured (↑ beyond the longest)"),
        Line2D([], [], color=style.BLUE, lw=2, label="law: $T_{extra}$"),
        Line2D([], [], color=style.BLACK, ls="--", label="critical base $β_0$"),
        Line2D([], [], color=style.GREEN, ls=":", label="pivots $β_3, β_2, β_1$"),
    ]
    style.legend(figure, handles, 4)
    return figure


def draw_point(
    axes: Axes,
    x: float,
    value: tuple[float, float, float],
    colour: str,
    marker: str,
    *,
    filled: bool,
    beyond: bool,
) -> None:
    """Draw a measured context with its interval (value, low, high), and an arrow where beyond."""
    style.error_bar(
        axes,
        x,
        *value,
        color=colour,
        marker=marker,
        mfc=colour if filled else "white",
        ms=6,
        lw=1.2,
        capsize=2.5,
        zorder=3,
    )
    if beyond:
        axes.annotate(
            "",
            (x, value[0] * 1.4),
            (x, value[0]),
            zorder=2,
            arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4},
        )
