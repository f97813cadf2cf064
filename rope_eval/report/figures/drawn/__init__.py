"""`FigureData` as a matplotlib Figure: what `rope-eval figure` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from matplotlib.figure import Figure

from rope_eval.report.figures.drawn.bars import draw_bars
from rope_eval.report.figures.drawn.grid import WIDTH
from rope_eval.report.figures.drawn.lines import draw_lines
from rope_eval.report.figures.drawn.maps import draw_maps
from rope_eval.report.figures.drawn.points import draw_points
from rope_eval.report.figures.drawn.profiles import draw_profiles
from rope_eval.report.series import FigureData

_DRAWN: Mapping[str, Callable[[FigureData, float], Figure]] = MappingProxyType(
    {
        "lines": draw_lines,
        "heat": draw_maps,
        "points": draw_points,
        "profiles": draw_profiles,
        "bars": draw_bars,
    }
)


def draw(data: FigureData, *, width: float = WIDTH) -> Figure:
    """Draw a figure's data, a panel for each text of its column of panels.

    Args:
        data: what is drawn.
        width: in inches; texts have the same size at any.
    """
    return _DRAWN[data.mark](data, width)
