"""Base by length: a score of each base at each length, as in Fig. 4 of arXiv 2310.05209."""

from __future__ import annotations

from collections import Counter

from rope_eval.catalogue.files import OF_THE_WEIGHTS
from rope_eval.labels import base_label
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.lines import COLUMNS, LENGTH, score_axis, scores, table
from rope_eval.report.series.source import Line, Source
from rope_eval.rope.spec import RopeSpec

_NOT_METHODS = ("rope_theta", *OF_THE_WEIGHTS)


def bases(source: Source, metric: str) -> FigureData:
    """Return a score by base and length, a panel a task and all else that was set.

    Raises:
        DataError: where the base of no run is known, or a single length is left.
    """
    lines = scores(source, metric)
    source.notes.add(
        "not drawn, as its base is not recorded",
        [line["label"] for line in lines if line["base"] is None],
    )
    lines = [line for line in lines if line["base"] is not None]
    tasks = len({line["task"] for line in lines})
    for line in lines:
        rest = _rest(source, line)
        line["panel"] = ", ".join(
            part for part in (line["task"] if tasks > 1 else "", rest) if part
        )
    lines = _maps(source, lines)
    for line, name in zip(lines, _names(lines), strict=True):
        line["series"] = name
    lines.sort(key=lambda line: (line["panel"], line["base"], line["series"], line["length"]))
    axis = score_axis(metric, lines)
    return FigureData(
        kind="bases",
        mark="heat",
        title=f"{axis.label.partition(',')[0].capitalize()} by base and length",
        frame=table(lines, COLUMNS),
        x=LENGTH,
        y=Axis(column="series", label="base β", scale="names"),
        colour=axis,
        notes=source.notes.lines(),
    )


def _maps(source: Source, lines: list[Line]) -> list[Line]:
    """Return the lines of the panels that have two bases and two lengths."""
    there: dict[str, tuple[set[float], set[int]]] = {}
    for line in lines:
        found = there.setdefault(line["panel"], (set(), set()))
        found[0].add(line["base"])
        found[1].add(line["length"])
    for line in lines:
        if len(there[line["panel"]][0]) < 2:
            source.notes.add("not drawn, as there is no other base like it", [line["label"]])
    maps = {panel for panel, (of, at) in there.items() if len(of) > 1 and len(at) > 1}
    kept = [line for line in lines if line["panel"] in maps]
    if not kept:
        raise source.nothing("a map of bases needs two bases and two lengths or more")
    return kept


def _rest(source: Source, line: Line) -> str:
    """Return what was set beside the base, and beside what the laws alone take."""
    rope = source.runs[line["key"]].request.get("rope", {})
    rest = {name: value for name, value in rope.items() if name not in _NOT_METHODS}
    return RopeSpec.from_dict(rest).label if rest else ""


def _names(lines: list[Line]) -> list[str]:
    """Return what stands at the lines: the base, and the row where rows of a panel share it."""
    rows = dict.fromkeys((line["panel"], line["base"], line["label"]) for line in lines)
    shared = Counter(row[:2] for row in rows)
    return [
        base_label(line["base"])
        + (f" ({line['label']})" if shared[line["panel"], line["base"]] > 1 else "")
        for line in lines
    ]
