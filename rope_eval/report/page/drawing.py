"""Traces and layouts for plotly, a mark a function; colours are Okabe and Ito's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rope_eval.report.measured import length_text
from rope_eval.report.page.axes import (
    Line,
    colour_bar,
    layout_of,
    named_axis,
    on_scale,
    place_between,
    plain,
)
from rope_eval.report.series.data import FigureData
from rope_eval.safe_text import shown

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-down", "pentagon")
INK = "ink"  # the colour of text, which page.js puts in by the theme
GREY = "#888888"
MANY = 150  # cells whose numbers are written out

Drawn = dict[str, Any]


def lines(data: FigureData, panel: Sequence[Line]) -> Drawn:
    """Return a line a series with its band, and bounds and training lengths as uprights."""
    traces = [
        trace
        for position, (name, of_series) in enumerate(_by(panel, str(data.series)).items())
        for trace in _line(data, position, name, of_series)
    ]
    layout = layout_of(data, panel)
    uprights = _uprights(panel)
    layout["shapes"] = [
        {
            "type": "line",
            "x0": length,
            "x1": length,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"dash": "dot" if "bound" in names else "dash", "width": 1.2, "color": GREY},
        }
        for length, names in uprights.items()
    ]
    layout["annotations"] = [
        {
            "x": math.log10(length),
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "text": f"{', '.join(names)} {length:.0f}",
            "showarrow": False,
            "textangle": -30,
            "xanchor": "left",
            "font": {"size": 11, "color": GREY},
        }
        for length, names in uprights.items()
    ]
    return {"traces": tuple(traces), "layout": layout}


def _uprights(panel: Sequence[Line]) -> dict[float, list[str]]:
    """Return what a length is to one of the lines: its bound, the length it was trained at."""
    found: dict[float, list[str]] = {}
    for column, name in (("bound", "bound"), ("train_length", "trained")):
        for length in sorted({line[column] for line in panel if line.get(column) is not None}):
            found.setdefault(float(length), []).append(name)
    return found


def profiles(data: FigureData, panel: Sequence[Line]) -> Drawn:
    """Return the lines alone."""
    return lines(data, [{**line, "bound": None, "train_length": None} for line in panel])


def heat(data: FigureData, panel: Sequence[Line]) -> Drawn:
    """Return a map of cells with a row's bound marked in it."""
    assert data.colour is not None, "a map has colours"
    columns = sorted({line[data.x.column] for line in panel})
    names = list(dict.fromkeys(line[data.y.column] for line in panel))
    cells = {(line[data.y.column], line[data.x.column]): line for line in panel}
    scale = data.colour.scale
    grid = [[cells.get((name, column)) for column in columns] for name in names]
    values = [[None if one is None else one["value"] for one in row] for row in grid]
    traces: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "x": list(range(len(columns))),
            "y": list(range(len(names))),
            "z": [[on_scale(value, scale) for value in row] for row in values],
            "hovertext": [[_said(data, one) for one in row] for row in grid],
            "hoverinfo": "text",
            "colorscale": "Cividis",
            "reversescale": scale != "share",
            "colorbar": colour_bar(data.colour, values),
            "xgap": 1,
            "ygap": 1,
        }
        | ({"zmin": 0, "zmax": 1} if scale == "share" else {})
    ]
    if len(columns) * len(names) <= MANY:
        digits = 2 if scale == "share" else 1
        traces[0] |= {
            "text": [["" if v is None else _short(v, digits) for v in row] for row in values],
            "texttemplate": "%{text}",
        }
    bounds = {line[data.y.column]: line.get("bound") for line in panel}
    marks = [
        (place, row)
        for row, name in enumerate(names)
        if (place := place_between(bounds[name], columns)) is not None
    ]
    if marks:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for place, _ in marks for x in (place, place, None)],
                "y": [y for _, row in marks for y in (row - 0.5, row + 0.5, None)],
                "line": {"color": "#D55E00", "width": 3},
                "hoverinfo": "skip",
            }
        )
    layout = layout_of(data, panel)
    layout["xaxis"] = named_axis(data.x.label, [length_text(int(one)) for one in columns])
    layout["yaxis"] = named_axis(data.y.label, [plain(name) for name in names])
    return {"traces": tuple(traces), "layout": layout}


def points(data: FigureData, panel: Sequence[Line]) -> Drawn:
    """Return a point a row with its interval, and the diagonal."""
    x, y = data.x.column, data.y.column
    both = [line[name] for line in panel for name in (x, y)]
    ends = [min(both) / 1.4, max(both) * 1.4]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": ends,
            "y": ends,
            "line": {"color": GREY, "dash": "dash", "width": 1.2},
            "hoverinfo": "skip",
        }
    ]
    for position, (name, of_series) in enumerate(_by(panel, str(data.series)).items()):
        colour = COLOURS[position % len(COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [line[x] for line in of_series],
                "y": [line[y] for line in of_series],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [(line["high"] or line[y]) - line[y] for line in of_series],
                    "arrayminus": [line[y] - (line["low"] or line[y]) for line in of_series],
                    "color": colour,
                    "thickness": 1.2,
                },
                "marker": {
                    "size": 9,
                    "color": colour,
                    "symbol": [
                        "triangle-up" if line.get("beyond") else SYMBOLS[position % len(SYMBOLS)]
                        for line in of_series
                    ],
                },
                "line": {"color": colour},
                "hovertext": [_said(data, line, str(line["row"])) for line in of_series],
                "hoverinfo": "text",
                "legendgroup": str(position),
                "meta": {"legend": shown(name)},
            }
        )
    return {"traces": tuple(traces), "layout": layout_of(data, panel)}


DRAWN: Mapping[str, Callable[[FigureData, Sequence[Line]], Drawn]] = {
    "lines": lines,
    "heat": heat,
    "points": points,
    "profiles": profiles,
}
"""How a mark of `FigureData` is drawn."""


def _line(
    data: FigureData, position: int, name: str, of_series: Sequence[Line]
) -> Iterator[dict[str, Any]]:
    colour = COLOURS[position % len(COLOURS)]
    x = [line[data.x.column] for line in of_series]
    banded = [line for line in of_series if line.get("low") is not None]
    if len(banded) > 1:
        there = [line[data.x.column] for line in banded]
        yield {
            "type": "scatter",
            "mode": "lines",
            "x": [*there, *reversed(there)],
            "y": [line["high"] for line in banded] + [line["low"] for line in reversed(banded)],
            "fill": "toself",
            "fillcolor": f"{colour}2a",
            "line": {"width": 0, "color": colour},
            "hoverinfo": "skip",
            "legendgroup": str(position),
        }
    yield {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(name),
        "x": x,
        "y": [line[data.y.column] for line in of_series],
        "line": {"color": colour, "width": 2, "dash": DASHES[position // len(COLOURS) % 4]},
        "marker": {"symbol": SYMBOLS[position % len(SYMBOLS)], "size": 7 if len(x) < 20 else 4},
        "hovertext": [_said(data, line, name) for line in of_series],
        "hoverinfo": "text",
        "legendgroup": str(position),
        "meta": {"legend": shown(name)},
    }


def _said(data: FigureData, line: Line | None, name: str = "") -> str:
    """Return what stands at a mark under the pointer."""
    if line is None:
        return "not measured"
    shows = data.colour or data.y
    value = line[shows.column]
    interval = f" [{line['low']:.4g}, {line['high']:.4g}]" if line.get("low") is not None else ""
    n = f"<br>n = {line['n']}" if line.get("n") is not None else ""
    x = line[data.x.column]
    where = f"{plain(data.x.label)} {x:.6g}"
    if data.colour is not None:
        where += f"<br>{plain(data.y.label)} {plain(line[data.y.column])}"
    said = "no number" if value is None else f"{value:.4g}"
    return f"<b>{plain(name)}</b><br>{where}<br>{plain(shows.label)} {said}{interval}{n}"


def _by(panel: Sequence[Line], column: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in panel:
        found.setdefault(str(line[column]), []).append(line)
    return found


def _short(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.0e}"
