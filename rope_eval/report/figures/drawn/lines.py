"""Scores by length, with each line's bound and training length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rope_eval.report.figures import style
from rope_eval.report.figures.drawn.grid import (
    TRAINING,
    by_panel,
    grid,
    label,
    legend,
    looks_of,
    marks_of,
    room_for,
)
from rope_eval.report.series import FigureData


def draw_lines(data: FigureData, width: float) -> Figure:
    """Draw a line for each series, in a panel for each text of the column of panels."""
    names = list(dict.fromkeys(data.frame[data.series]))
    looks = dict(zip(names, looks_of(len(names)), strict=True))
    figure, axes = grid(data, width, (4.0, 2.7), sharex=True, sharey=True)
    for panel, group in by_panel(data, axes):
        _draw_panel(panel, data, group, looks)
    _axes_of_lines(figure, axes, data, width)
    handles = [Line2D([], [], label=style.plain_text(name), **looks[name]) for name in names]
    marks = marks_of(data)
    if marks and marks[-1].get_label() == TRAINING:
        marks[-1].set(marker="o", ms=9, mfc="none")
    legend(figure, handles + marks)
    return figure


def _draw_panel(
    axes: Axes, data: FigureData, group: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    lengths = data.frame[data.x.column]
    for name, line in group.groupby(data.series, sort=False):
        look = looks[str(name)]
        axes.plot(line[data.x.column], line[data.y.column], **look)
        if line["low"].notna().all():
            axes.fill_between(
                line[data.x.column],
                line["low"].astype(float),
                line["high"].astype(float),
                color=look["color"],
                alpha=0.15,
                lw=0,
            )
        bound = line["bound"].iloc[0]
        if bound is not None and lengths.min() < bound < lengths.max():
            axes.axvline(bound, color=look["color"], ls=":", lw=1.3, zorder=0)
        if (length := line["train_length"].iloc[0]) is not None:
            _mark_training(axes, line, data, float(length), look["color"])
    for length in group["train_length"].dropna().unique():
        if lengths.min() < length < lengths.max():
            axes.axvline(length, color=style.GREY, ls="--", lw=1, zorder=0)
    style.grid_lines(axes)


def _mark_training(
    axes: Axes, line: pd.DataFrame, data: FigureData, length: float, colour: str
) -> None:
    """Draw a ring on a line at the longest length of its model's training."""
    at = line[data.x.column].to_numpy(dtype=np.float64)
    if at.min() <= length <= at.max():
        values = line[data.y.column].to_numpy(dtype=np.float64)
        log = np.log if data.y.scale == "perplexity" else np.positive
        value = np.interp(np.log(length), np.log(at), log(values))
        value = np.exp(value) if data.y.scale == "perplexity" else value
        axes.plot([length], [value], marker="o", ms=9, mfc="none", color=colour, ls="")


def _axes_of_lines(figure: Figure, axes: list[Axes], data: FigureData, width: float) -> None:
    lengths, values = data.frame[data.x.column], data.frame[data.y.column]
    for panel in axes:
        low, high = lengths.min() / 1.06, lengths.max() * 1.06
        style.length_axis(panel, low, high, "", most=room_for(data, width))
    if data.y.scale == "perplexity":
        style.perplexity_axis(axes[0], float(values.min()), float(values.max()))
    elif data.y.scale == "share":
        axes[0].set_ylim(-0.03, 1.03)
    label(figure, axes, data.x.label, data.y.label)
