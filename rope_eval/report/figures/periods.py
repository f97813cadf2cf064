"""Periods of the pairs of dimensions against the training length: Fig. 5 of arXiv 2310.05209."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rope_eval.report.figures import style

KINDS = {
    style.BLUE: "period within $T_{train}$",
    style.SKY: "longer, but seen in full before tuning",
    style.RED: "longer, and never seen in full",
}


def draw_periods(
    periods: Mapping[str, Sequence[float]], *, train_length: int, critical_dimension: int
) -> Figure:
    """Draw the period of each pair as a bar, a panel a base.

    Args:
        periods: tokens in which each of the F = head_dim / 2 pairs turns once, by the panel's
            title.
        train_length: T_train, in tokens.
        critical_dimension: d_extra of Lemma 1, in dimensions.
    """
    figure = style.new_figure(4.8)
    panels = figure.subplots(1, len(periods), sharey=True, squeeze=False)[0]
    for axes, (title, turns) in zip(panels, periods.items(), strict=True):
        colours = [
            style.BLUE
            if turn <= train_length
            else style.SKY
            if 2 * n < critical_dimension
            else style.RED
            for n, turn in enumerate(turns)
        ]
        longest = max(turns[-1], train_length) * 1.6
        draw_bars(axes, turns, colours, train_length, critical_dimension, longest)
        axes.set_title(title)
    head_dim = 2 * len(next(iter(periods.values())))
    panels[0].set_ylim(0, head_dim)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("dimension")
    panels[0].set_yticks([0, critical_dimension, head_dim // 2, head_dim])
    panels[len(panels) // 2].set_xlabel("period, tokens (grey: $T_{train}$; dashed: $d_{extra}$)")
    handles = [Patch(color=colour, label=label) for colour, label in KINDS.items()]
    style.legend(figure, handles, 3)
    return figure


def draw_bars(
    axes: Axes,
    turns: Sequence[float],
    colours: Sequence[str],
    train_length: float,
    critical_dimension: int | None,
    longest: float,
) -> None:
    """Draw the periods of pairs as bars; an infinite one reaches the edge.

    Args:
        axes: where.
        turns: tokens in which each pair turns once, [F].
        colours: of the bars, [F].
        train_length: shaded from 1 to there, in tokens.
        critical_dimension: d_extra, drawn dashed, or None.
        longest: where the axis ends, in tokens.
    """
    axes.axvspan(1, train_length, color=style.GREY, alpha=0.16, lw=0)
    middles = [2 * n + 1 for n in range(len(turns))]
    widths = [min(turn, longest) - 1 for turn in turns]
    axes.barh(middles, widths, left=1, height=1.5, color=colours)
    if critical_dimension is not None:
        axes.axhline(critical_dimension, color=style.BLACK, ls="--", lw=1.2)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1, longest)
    powers = [2.0**n for n in range(24) if 2**n <= longest]
    axes.xaxis.set_major_locator(FixedLocator(powers[:: max(1, len(powers) // 5)]))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())


def _short(tokens: float, _: int) -> str:
    if tokens < 10_000:
        return f"{tokens:g}"
    return f"{tokens / 2**10:g}k" if tokens < 2**20 else f"{tokens / 2**20:g}M"
