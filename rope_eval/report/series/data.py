"""`FigureData`: the frame behind a figure, and how its columns are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rope_eval.safe_text import for_spreadsheet, shown

if TYPE_CHECKING:
    import pandas as pd

Mark = Literal["lines", "heat", "points", "profiles", "bars"]
Scale = Literal["linear", "log", "length", "perplexity", "share", "names"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """What is drawn in a direction, or as a colour.

    Attributes:
        column: of the frame.
        label: what stands there, with the unit.
        scale: ``length`` is logarithmic with powers of two, ``perplexity`` logarithmic with round
            numbers, ``share`` from 0 to 1, ``names`` texts in the order of the frame.
    """

    column: str
    label: str
    scale: Scale = "linear"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FigureData:
    """What a figure shows.

    Of every frame the columns ``bound`` (T_extra) and ``train_length`` (the longest length of
    training), in tokens, are of the row's model under its setting; empty where they are not known.

    Attributes:
        kind: of the figure, such as ``curves``.
        mark: ``lines`` (with the band from ``low`` to ``high``), ``heat`` (cells of a map),
            ``points`` (with an interval), ``profiles`` (two lines a panel), or ``bars``.
        title: what it is of.
        frame: a row a mark.
        x: the horizontal axis.
        y: the vertical one.
        colour: of a heat map's cells.
        series: the column whose texts are the names of lines or of kinds of points.
        panels: the column whose texts are the titles of the panels.
        notes: what could not be drawn, and why; what is not alike.
    """

    kind: str
    mark: Mark
    title: str
    frame: pd.DataFrame
    x: Axis
    y: Axis
    colour: Axis | None = None
    series: str | None = None
    panels: str = "panel"
    notes: tuple[str, ...] = ()

    def csv(self) -> str:
        """Return the frame as CSV; no text in it is a formula to a spreadsheet."""
        texts = self.frame.select_dtypes(exclude="number").columns
        safe = {
            name: [for_spreadsheet(shown(v)) if isinstance(v, str) else v for v in self.frame[name]]
            for name in texts
        }
        written: str = self.frame.assign(**safe).to_csv(index=False, lineterminator="\n")
        return written


class Notes:
    """Why something is not drawn: names by the reason, in the order of their coming."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def add(self, reason: str, names: Iterable[str]) -> None:
        """Take a reason, of one name or several."""
        for name in names:
            self._names.setdefault(reason, {})[name] = None

    def lines(self) -> tuple[str, ...]:
        """Return a line a reason."""
        return tuple(f"{reason}: {'; '.join(names)}" for reason, names in self._names.items())
