"""The period of each pair, as bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rope_eval.report.figures import style
from rope_eval.report.figures.drawn.grid import by_panel, grid, label, legend
from rope_eval.report.figures.periods import draw_bars as draw_panel
from rope_eval.report.series import FigureData
from rope_eval.report.series.periods import NEVER, SEEN, WITHIN

COLOURS = {WITHIN: style.BLUE, SEEN: style.SKY, NEVER: style.RED}


def draw_bars(data: FigureData, width: float) -> Figure:
    """Draw the periods of a setting a panel, all to the same end."""
    figure, axes = grid(data, width, (4.2, 4.2), sharey=True)
    finite = data.frame["period"].replace(np.inf, np.nan)
    longest = float(max(finite.max(), data.frame["train_length"].max())) * 1.6
    for panel, group in by_panel(data, axes):
        critical = group["critical_dimension"].iloc[0]
        draw_panel(
            panel,
            [float(period) for period in group["period"]],
            [COLOURS[name] for name in group["series"]],
            train_length=float(group["train_length"].iloc[0]),
            critical_dimension=None if pd.isna(critical) else int(critical),
            longest=longest,
        )
    axes[0].set_ylim(data.frame["dimension"].max() + 2, 0)
    label(figure, axes, f"{data.x.label} (grey: trained at; dashed: $d_{{extra}}$)", data.y.label)
    there = [name for name in COLOURS if (data.frame["series"] == name).any()]
    legend(figure, [Patch(color=COLOURS[name], label=name) for name in there])
    return figure
