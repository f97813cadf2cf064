"""Fig. 5 of arXiv 2310.05209: periods against the training length."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rope_eval import theory
from studies.scaling_laws.figures import style
from studies.scaling_laws.finding import base_label

KINDS = {
    style.BLUE: "period within $T_{train}$",
    style.SKY: "longer, but seen in full before tuning",
    style.RED: "longer, and never seen in full",
}


def draw_periods(
    bases: Sequence[float], *, head_dim: int, train_length: int, critical: int
) -> Figure:
    """Draw the period of each pair as a bar, a panel a base.

    Args:
        bases: One a panel.
        head_dim: The rotary dimension.
        train_length: T_train, in tokens.
        critical: The critical dimension.
    """
    figure = style.new_figure(4.8)
    panels = figure.subplots(1, len(bases), sharey=True, squeeze=False)[0]
    for axes, base in zip(panels, bases, strict=True):
        periods = theory.periods(base, head_dim=head_dim)
        colours = [
            style.BLUE if t <= train_length else style.SKY if 2 * n < critical else style.RED
            for n, t in enumerate(periods)
        ]
        longest = max(periods[-1], train_length) * 1.6
        axes.axvspan(1, train_length, color=style.GREY, alpha=0.16, lw=0)
        axes.barh(
            [2 * n + 1 for n in range(len(periods))],
            [t - 1 for t in periods],
            left=1,
            height=1.5,
            color=colours,
        )
        axes.axhline(critical, color=style.BLACK, ls="--", lw=1.2)
        axes.set_xscale("log", base=2)
        axes.set_xlim(1, longest)
        powers = [2.0**n for n in range(24) if 2**n <= longest]
        axes.xaxis.set_major_locator(FixedLocator(powers[:: max(1, len(powers) // 5)]))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(f"base {base_label(base)}")
    panels[0].set_ylim(0, head_dim)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("dimension")
    panels[0].set_yticks([0, critical, head_dim // 2, head_dim])
    panels[len(panels) // 2].set_xlabel("period, tokens (grey: $T_{train}$; dashed: $d_{extra}$)")
    handles = [Patch(color=colour, label=label) for colour, label in KINDS.items()]
    style.legend(figure, handles, 3)
    return figure


def _short(tokens: float, _: int) -> str:
    if tokens < 10_000:
        return f"{tokens:g}"
    return f"{tokens / 2**10:g}k" if tokens < 2**20 else f"{tokens / 2**20:g}M"
