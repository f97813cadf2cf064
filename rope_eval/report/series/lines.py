"""Curves and methods: a score by length, a line a row, or a line a setting of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from rope_eval.catalogue.files import OF_THE_WEIGHTS
from rope_eval.errors import did_you_mean
from rope_eval.report.runs import lines_of
from rope_eval.report.series.data import Axis, FigureData
from rope_eval.report.series.local import local_losses
from rope_eval.report.series.source import Line, Source, labelled, newest
from rope_eval.results.metrics import plain

LOCAL_LOSS = "local-loss"
LENGTH = Axis(column="length", label="tokens seen", scale="length")
SCORES: Mapping[str, Axis] = MappingProxyType(
    {
        "perplexity": Axis(column="value", label="cumulative perplexity", scale="perplexity"),
        "accuracy": Axis(column="value", label="accuracy", scale="share"),
        LOCAL_LOSS: Axis(column="value", label="local loss, nats a token"),
    }
)
"""The axes of metrics that have one of their own."""
_NAMES = {"accuracy": ("accuracy", "score")}  # RULER's have their length in the place of a name
_HOW = {
    "perplexity": "measure it with `rope-eval ppl`, or a plan's `perplexity`",
    LOCAL_LOSS: "measure it with `rope-eval ppl`, or a plan's `perplexity`",
    "accuracy": "run retrieval or RULER in a plan, or bring results in with `rope-eval import`",
}
COLUMNS = (
    "panel",
    "series",
    "row",
    "model",
    "setting",
    "task",
    "metric",
    "protocol",
    "length",
    "value",
    "low",
    "high",
    "n",
    "base",
    "bound",
    "train_length",
    "key",
)
"""Of the frame of lines."""


def curves(source: Source, metric: str) -> FigureData:
    """Return a score by length, a line a row and a panel a task."""
    lines = scores(source, metric)
    for line in lines:
        line |= {"panel": line["task"], "series": line["label"]}
    return _figure("curves", source, lines, metric)


def methods(source: Source, metric: str) -> FigureData:
    """Return a score by length, a line a setting and a panel a model and task.

    Raises:
        DataError: where no model was measured under two settings.
    """
    lines = scores(source, metric)
    several = len({line["task"] for line in lines}) > 1
    models: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        models.setdefault((line["model"], line["weights"], line["task"]), []).append(line)
    names = [(model, weights) for model, weights in dict.fromkeys(m[:2] for m in models)]
    drawn: list[Line] = []
    for (model, weights, task), of_model in models.items():
        twice = sum(name == model for name, _ in names) > 1
        name = f"{model} ({weights[:7]})" if twice else model
        series = _settings(source, of_model)
        if len(set(series.values())) < 2:
            source.notes.add("not drawn, as it has one setting alone", [f"{name}, {task}"])
            continue
        for line in of_model:
            panel = f"{name}, {task}" if several else name
            drawn.append(line | {"panel": panel, "series": series[line["key"]]})
    if not drawn:
        raise source.nothing(
            "nothing to draw: no model was measured under two settings: give a plan `settings`"
        )
    return _figure("methods", source, drawn, metric)


def scores(source: Source, metric: str) -> list[Line]:
    """Return the newest scores by length, with their labels and their models' laws.

    Raises:
        DataError: where there are none.
        SpecError: a length that nothing was measured at.
    """
    if metric == LOCAL_LOSS:
        found = local_losses(source)
        how = _HOW[LOCAL_LOSS]
    else:
        every = [line for line in lines_of(source.measured) if line["metric"]]
        names = _NAMES.get(metric, (metric,))
        found = [line for line in every if plain(line["metric"]) in names]
        found = source.at_lengths([line for line in found if line["length"] is not None])
        known = [plain(line["metric"]) for line in every if line["length"] is not None]
        how = _HOW.get(metric) or (
            f"it has {', '.join(dict.fromkeys(known)) or 'none'}, and {LOCAL_LOSS} of whole books."
            + did_you_mean(metric, [*known, *SCORES])
        )
    found = source.left(found, f"{metric} by length", how)
    found = labelled(found)
    source.note_unlike(found)
    found = newest(found, "label", "task", "metric", "length", notes=source.notes)
    for line in found:
        law = source.laws.of(line["key"])
        line |= {"base": law.base, "bound": law.bound, "train_length": law.train_length}
    return sorted(found, key=lambda line: line["length"])


def score_axis(metric: str, lines: Sequence[Line] = ()) -> Axis:
    """Return the axis of a metric; the panels say which protocol, where one is not cumulative."""
    axis = SCORES.get(metric, Axis(column="value", label=metric))
    others = any(line["kind"] == "perplexity" for line in lines)
    return replace(axis, label=metric) if others and metric == "perplexity" else axis


def table(lines: Sequence[Line], columns: Sequence[str]) -> Any:
    """Return the lines as a frame with these columns."""
    import pandas as pd

    return pd.DataFrame([{name: line.get(name) for name in columns} for line in lines])


def _figure(kind: str, source: Source, lines: Sequence[Line], metric: str) -> FigureData:
    order = {name: i for i, name in enumerate(source.measured["row"].dropna().unique())}
    lines = sorted(lines, key=lambda line: (order[line["row"]], line["length"]))
    axis = score_axis(metric, lines)
    return FigureData(
        kind=kind,
        mark="lines",
        title=f"{axis.label.partition(',')[0].capitalize()} by length",
        frame=table(lines, COLUMNS),
        x=LENGTH,
        y=axis,
        series="series",
        notes=source.notes.lines(),
    )


def _settings(source: Source, lines: Sequence[Line]) -> dict[str, str]:
    """Return what tells the settings of a model apart, by the keys of the runs."""
    runs = {line["key"]: source.runs[line["key"]] for line in lines}
    fields = {
        key: dict(run.request.get("rope", {})) | dict(run.request.get("overrides", {}))
        for key, run in runs.items()
    }
    every = list(fields.values())
    common = {
        name
        for name in every[0]
        if all(name in one and one[name] == every[0][name] for one in every)
    }
    short = {
        key: {n: v for n, v in one.items() if n not in common and n not in OF_THE_WEIGHTS}
        for key, one in fields.items()
    }
    if len({str(one) for one in short.values()}) < len({str(one) for one in every}):
        short = {k: {n: v for n, v in one.items() if n not in common} for k, one in fields.items()}
    return {key: _text(one) for key, one in short.items()}


def _text(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in fields.items()) or "as it is"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return f"{len(value)} numbers" if isinstance(value, (list, tuple)) else str(value)
