"""Retrieval of a needle: accuracy by length and depth."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rope_eval.errors import DataError
from rope_eval.report.runs import lines_of
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.lines import table
from rope_eval.report.series.source import Line, Source, labelled, newest

COLUMNS = (
    "panel",
    "row",
    "model",
    "setting",
    "task",
    "depth",
    "length",
    "value",
    "low",
    "high",
    "n",
    "bound",
    "train_length",
    "key",
)
_AT_DEPTH = re.compile(r"accuracy_depth_([0-9.]+)@([0-9]+)(,none)?")
_AT_LENGTH = re.compile(r"accuracy@([0-9]+)(,none)?")


def retrieval(source: Source, metric: str) -> FigureData:
    """Return the accuracy by length and depth, a panel a row.

    Raises:
        DataError: where no task has it.
        SpecError: a length that nothing was measured at.
    """
    found = [line for one in lines_of(source.measured) for line in _at_depths(source, one)]
    found = source.at_lengths(found)
    found = source.left(
        found,
        "accuracy of retrieval by depth",
        "run the task `retrieval` in a plan, or bring results in with `rope-eval import`",
    )
    found = labelled(found)
    found = newest(found, "label", "task", "depth", "length", notes=source.notes)
    if len({line["length"] for line in found}) < 2:
        raise DataError("a map of depths needs two lengths or more: this one has a single length")
    several = len({line["task"] for line in found}) > 1
    for line in found:
        law = source.laws.of(line["key"])
        line |= {
            "panel": f"{line['label']}, {line['task']}" if several else line["label"],
            "bound": law.bound,
            "train_length": law.train_length,
        }
    order = list(dict.fromkeys(line["panel"] for line in found))
    found.sort(key=lambda line: (order.index(line["panel"]), line["depth"], line["length"]))
    return FigureData(
        kind="retrieval",
        mark="heat",
        title="Retrieval by length and depth",
        frame=table(found, COLUMNS),
        x=Axis(column="length", label="tokens of a probe", scale="length"),
        y=Axis(column="depth", label="depth of the needle", scale="share"),
        colour=Axis(column="value", label="retrieval accuracy", scale="share"),
        notes=source.notes.lines(),
    )


def _at_depths(source: Source, line: Line) -> Iterator[Line]:
    """Yield a score with its depth; that of a run with one depth is at that depth."""
    metric = line["metric"] or ""
    if at_depth := _AT_DEPTH.fullmatch(metric):
        yield line | {"depth": float(at_depth[1]), "length": int(at_depth[2])}
    elif at_length := _AT_LENGTH.fullmatch(metric):
        record = source.runs[line["key"]].results["tasks"][line["task"]]
        if "distances" in record["metadata"]:
            return  # no map: `curves` draws accuracy by distance
        depths = record["metadata"].get("depths")
        depths = depths if isinstance(depths, list) else [depths]
        if len(depths) == 1 and isinstance(depths[0], int | float):
            yield line | {"depth": float(depths[0]), "length": int(at_length[1])}
        elif not any(map(_AT_DEPTH.fullmatch, record["metrics"])):
            source.notes.add(
                "not drawn, as it was measured before depths were kept: run it again",
                [f"{line['row']}, {line['task']}"],
            )
