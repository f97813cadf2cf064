"""Fig. 11 of arXiv 2310.05209: position methods at inference, a panel a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from studies.scaling_laws import scores
from studies.scaling_laws.figures import style
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Curve

LOOKS: dict[str, dict[str, Any]] = {
    AS_TRAINED: {"color": style.BLACK, "lw": 2.2},
    "log": {"color": style.BLUE},
    "xpos": {"color": style.SKY, "ls": (0, (1, 1))},
    "log+xpos": {"color": style.SKY},
    "ntk": {"color": style.RED},
    "ntk+xpos": {"color": style.PURPLE, "ls": (0, (1, 1))},
    "ntk+log": {"color": style.ORANGE},
    "ntk+log+xpos": {"color": style.PURPLE},
    "ntk per_sequence": {"color": style.GREEN},
    "log (wrong)": {"color": style.BLUE, "ls": (0, (3, 1.5))},
    "ntk (wrong)": {"color": style.RED, "ls": (0, (3, 1.5))},
    "ntk+log (wrong)": {"color": style.ORANGE, "ls": (0, (3, 1.5))},
}


def draw_methods(rows: Sequence[Sequence[Sequence[Curve]]]) -> Figure:
    """Draw cumulative perplexity against length.

    Args:
        rows: The rows of panels; in each the checkpoints, and of each its curves.
    """
    columns = max(map(len, rows))
    figure = style.new_figure(2.6 * len(rows) + 0.8)
    panels = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    seen: dict[str, Any] = {}
    for row, checkpoints in zip(panels, rows, strict=True):
        values = [scores.perplexities(curve) for curves in checkpoints for curve in curves]
        for axes, curves in zip(row, checkpoints, strict=False):
            for curve in curves:
                look = {"lw": 1.4, "label": curve.method} | LOOKS[curve.method]
                (line,) = axes.plot(curve.lengths, scores.perplexities(curve), **look)
                seen.setdefault(curve.method, line)
            checkpoint = curves[0].checkpoint
            for length, ls in ((checkpoint.train_length, ":"), (checkpoint.bound, "-")):
                axes.axvline(length, color=style.GREY, ls=ls, lw=0.9, zorder=0)
            axes.set_title(checkpoint.name, fontsize=10)
            style.length_axis(axes, 2 * curves[0].lengths[0], curves[0].lengths[-1], "")
            axes.tick_params(labelsize=8)
            style.grid_lines(axes)
        for axes in row[len(checkpoints) :]:
            axes.set_visible(False)
        low = min(float(v.min()) for v in values)
        style.perplexity_axis(row[0], low, max(float(np.max(v)) for v in values))
    figure.supylabel("cumulative perplexity", fontsize=10)
    figure.supxlabel("tokens seen (dotted: $T_{train}$, grey: $T_{extra}$)", fontsize=10)
    style.legend(figure, [seen[name] for name in LOOKS if name in seen], 5, above=True)
    return figure
