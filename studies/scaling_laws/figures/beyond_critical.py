"""§3.4 of arXiv 2310.05209: clip and drop, a panel a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from studies.scaling_laws import scores
from studies.scaling_laws.figures import style
from studies.scaling_laws.runs import Curve

COLOURS = (style.BLACK, style.BLUE, style.ORANGE, style.GREEN)


def draw_beyond_critical(found: Sequence[tuple[str, Mapping[str, Curve]]]) -> Figure:
    """Draw local perplexity against length for each experiment."""
    columns = min(len(found), 2)
    count = math.ceil(len(found) / columns)
    figure = style.new_figure(2.7 * count + 0.7)
    panels = figure.subplots(count, columns, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for _, curves in found for name in curves))
    seen, values = {}, []
    for axes, (title, curves) in zip(panels.flat, found, strict=False):
        for name, curve in curves.items():
            lengths, nll = scores.local_curve(curve)
            colour = COLOURS[names.index(name)]
            (seen[name],) = axes.plot(lengths, np.exp(nll), color=colour, lw=1.8, label=name)
            values.append(np.exp(nll))
        checkpoint = next(iter(curves.values())).checkpoint
        axes.axvline(checkpoint.tune_length, color=style.GREY, ls=":", lw=1.2)
        axes.axvline(checkpoint.bound, color=style.GREY, lw=1)
        axes.set_title(title, fontsize=10)
        style.length_axis(axes, lengths[0], lengths[-1], "")
        style.grid_lines(axes)
    style.hide_rest(panels, len(found))
    low, high = (getattr(np, name)(np.concatenate(values)) for name in ("min", "max"))
    style.perplexity_axis(panels[0, 0], float(low), float(high))
    figure.supylabel("local perplexity", fontsize=10)
    figure.supxlabel("tokens seen (dotted: $T_{tune}$, grey: $T_{extra}$)", fontsize=10)
    style.legend(figure, [seen[name] for name in names], len(names), above=True)
    return figure
