"""Axes, ticks and scales for plotly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rope_eval.report.series.data import Axis, FigureData
from rope_eval.safe_text import shown

WIDEST = 5  # powers of ten of an axis: what has exploded lies beyond it

Line = Mapping[str, Any]


def plain(text: object) -> str:
    """Return a text that plotly, which reads some HTML, shows as it is."""
    return shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def layout_of(data: FigureData, panel: Sequence[Line]) -> dict[str, Any]:
    """Return the layout of a panel."""
    return {
        "xaxis": _axis(data.x, panel),
        "yaxis": _axis(data.y, panel),
        "margin": {"l": 70, "r": 40, "t": 76, "b": 70},
        "hovermode": "closest",
    }


def _axis(axis: Axis, panel: Sequence[Line]) -> dict[str, Any]:
    found = {"title": {"text": plain(axis.label), "standoff": 8}, "automargin": True}
    columns = (axis.column, "low", "high") if axis.column == "value" else (axis.column,)
    given = [line.get(column) for line in panel for column in columns]
    numbers = [n for n in given if isinstance(n, int | float) and math.isfinite(n)]
    if axis.scale == "share":
        return found | {"range": [-0.02, 1.02]}
    if axis.scale not in ("length", "perplexity", "log") or not numbers or min(numbers) <= 0:
        return found
    low, high = min(numbers), max(numbers)
    ticks = _powers(low, high) if axis.scale == "length" else _round_numbers(low, high)
    found |= {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    if high / low > 10**WIDEST:
        found["range"] = [math.log10(low) - 0.1, math.log10(low) + WIDEST]
    return found


def _powers(low: float, high: float) -> list[float]:
    """Return powers of two from before to after, every other one where there are many."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    step = 1 if last - first <= 9 else 2
    return [2.0**power for power in range(first, last + 1, step)]


def _round_numbers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, or the powers alone where there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = min(last, first + WIDEST + 1)
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    return [step * 10.0**power for power in range(first, last + 1) for step in steps]


def named_axis(label: str, names: Sequence[str]) -> dict[str, Any]:
    """Return an axis of names, one a place."""
    return {
        "title": {"text": plain(label)},
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    }


def place_between(bound: float | None, lengths: Sequence[float]) -> float | None:
    """Return where a bound lies among columns of lengths, or None where outside of them."""
    if bound is None or not lengths[0] <= bound <= lengths[-1]:
        return None
    for place, (low, high) in enumerate(itertools.pairwise(lengths)):
        if low <= bound <= high:
            return place + math.log(bound / low) / math.log(high / low)
    return None


def on_scale(value: float | None, scale: str) -> float | None:
    """Return a value as colours show it: its power of ten on scales of those."""
    if value is None or not math.isfinite(value):
        return None
    return math.log10(value) if scale in ("perplexity", "log") and value > 0 else value


def colour_bar(axis: Axis, values: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Return the bar beside a panel of values."""
    bar: dict[str, Any] = {"title": {"text": plain(axis.label), "side": "right"}}
    numbers = [v for row in values for v in row if v is not None and math.isfinite(v) and v > 0]
    if axis.scale in ("perplexity", "log") and numbers:
        ticks = _round_numbers(min(numbers), max(numbers))
        bar |= {"tickvals": [math.log10(t) for t in ticks], "ticktext": [f"{t:g}" for t in ticks]}
    return bar
