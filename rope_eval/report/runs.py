"""From the store to rows: what was measured of a model under a setting, and why the rest is not."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rope_eval.protocols.columns import ITEMS, TASKS, metric_of
from rope_eval.protocols.tasks import OWN_PROTOCOLS
from rope_eval.report.pooled import Pooled, column_of, is_pooled, pooled_of
from rope_eval.results.conditions import CONDITIONS, recorded
from rope_eval.results.metrics import is_fraction
from rope_eval.results.naming import Names
from rope_eval.results.samples import scores_of
from rope_eval.results.stats import Interval, Z, mean_variance, wilson
from rope_eval.results.store import Store
from rope_eval.results.tidy import HARNESSES, OWN_HOST, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A task's score in a column.

    Attributes:
        task: its name.
        value: a fraction, or None for what is not a number.
        n: how many items it is a mean of; None where the run does not say.
        n_all: how many items the task has.
        remark: why there is no number, or how it was made; or empty.
        answer: the one answer that was given to all items, or None.
        conditions: how it was asked for, as `rope_eval.results.conditions` says.
        samples: each item's score by its name, or empty where they were not kept.
    """

    task: str
    value: float | None
    n: int | None
    n_all: int | None = None
    remark: str = ""
    answer: str | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    samples: Callable[[], dict[str, float]] = dict


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A column of a row: the plain mean of its parts, and what to know about it.

    Attributes:
        value: a fraction, or None where there is no number.
        parts: the tasks that are there.
        notes: why there is no number, or what is not as the column says.
    """

    value: float | None
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @property
    def conditions(self) -> dict[str, str]:
        """How it was asked for; where its parts differ, all that there is."""
        return {
            name: " and ".join(dict.fromkeys(values))
            for name in CONDITIONS
            if (values := [part.conditions[name] for part in self.parts if name in part.conditions])
        }

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, as a fraction: Wilson's, or of a mean of parts the normal one.

        None where the number of items is not known.
        """
        known = [(part.value, part.n) for part in self.parts if part.value is not None and part.n]
        if self.value is None or not known or len(known) < len(self.parts):
            return None
        if len(known) == 1:
            return wilson(*known[0])
        spread = Z * math.sqrt(mean_variance(known))
        return max(0.0, self.value - spread), min(1.0, self.value + spread)


@dataclass(kw_only=True, slots=True)
class Row:
    """A model under a RoPE setting, with everything that the store has of it.

    Attributes:
        name: the row's name in the catalogue, or the model's and its setting.
        weights: which checkpoint was run, where rows of one name differ in it; else empty.
        paper: where it stands in results/paper: (size, label) by the table's name.
        harness: who ran its tasks, a key of HARNESSES; else empty.
        parts: the newest score of each task.
        others: the newest scores that are fractions and in no column, by task and metric.
        pooled: the newest scores that are made of sums, by books or task and metric.
        checkpoint: what tells its weights from others of the name.
        repeated: tasks that an older run scored otherwise.
        curves: (length, perplexity) of each set of documents, by what they are called
            and a digest of their content: other lengths can choose other documents. None is a
            run that failed.
        remarks: why documents, or all of a set, have no score, by the set's name.
    """

    name: str
    weights: str
    paper: Mapping[str, tuple[str, str]]
    harness: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    others: dict[str, Part] = field(default_factory=dict)
    pooled: dict[str, Pooled] = field(default_factory=dict)
    checkpoint: str = ""
    repeated: set[str] = field(default_factory=set)
    curves: dict[str, dict[int, float | None]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def score(self, column: str, protocol: str) -> Score:
        """Return a column of this row, as `rope_eval.protocols.columns` makes it of tasks."""
        tasks = TASKS[protocol].get(column, ())
        if not tasks:
            return _blank(f"protocol {protocol} has no such column")
        parts = tuple(self.parts[task] for task in tasks if task in self.parts)
        values = [part.value for part in parts if part.value is not None]
        remarks = list(dict.fromkeys(part.remark for part in parts if part.remark))
        if not values:
            return Score(value=None, parts=parts, notes=tuple(remarks or ["not run"]))
        notes = remarks
        if len(values) < len(tasks):
            notes.append(f"mean of {len(values)} of {len(tasks)} parts")
        scored = tuple(part for part in parts if part.value is not None)
        whole = len(scored) == len(tasks) and protocol in OWN_PROTOCOLS
        notes += items_of(scored, ITEMS[column] if whole else None)
        notes += [f"{part.answer!r} throughout" for part in parts if part.answer is not None]
        if self.repeated & set(tasks):
            notes.append("the newest of runs that differ")
        return Score(
            value=sum(values) / len(values),
            parts=scored,
            notes=tuple(notes),
        )


def rows_of(store: Store, keys: Iterable[str] | None = None) -> list[Row]:
    """Return what the store has, a row a model and setting, the catalogue's first and in its order.

    Args:
        store: the runs.
        keys: of the runs to take, by default all that are done.

    Raises:
        StoreError: the store cannot be read.
    """
    names = Names()
    measured = frame(store, names)
    measured = measured[measured["task"].notna()]
    if keys is not None:
        measured = measured[measured["key"].isin(list(keys))]
    rows = []
    who = measured["kind"].where(measured["kind"].isin(list(HARNESSES)), OWN_HOST)
    for which, group in measured.groupby([who, "row", "weights"], sort=False):
        kind, name, weights = map(str, which)
        row = Row(
            name=name,
            weights=weights,
            checkpoint=weights,
            paper=names.known[name].paper if name in names.known else {},
            harness=kind if kind in HARNESSES else "",
        )
        if row.harness:
            _add_tasks(row, group, store)
        _add_curves(row, group)
        row.pooled = pooled_of(lines_of(group), store)
        rows.append(row)
    same = Counter((row.harness, row.name) for row in rows)
    for row in rows:
        if same[row.harness, row.name] == 1:
            row.weights = ""
    order = {name: i for i, name in enumerate(names.known)}
    return sorted(rows, key=lambda row: order.get(row.name, len(order)))


_IN_COLUMNS = {task for columns in TASKS.values() for tasks in columns.values() for task in tasks}

# ---- from the frame ----------------------------------------------------------------------------


def _add_tasks(row: Row, measured: pd.DataFrame, store: Store) -> None:
    """Take each task's newest score, in the metric that its column takes."""
    for line in lines_of(measured):
        task, metric = line["task"], metric_of(line["task"])
        value = line["value"]
        if (
            _is_fraction(line)
            and not is_pooled(line)
            and (line["metric"] != metric or task not in _IN_COLUMNS)
        ):
            row.others[column_of(line)] = _part(line, store, line["metric"])
        if line["metric"] not in (None, metric):
            continue
        if value is None and task in row.parts:
            continue  # an older run has more to say
        if task in row.parts and row.parts[task].value not in (None, value):
            row.repeated.add(task)
        row.parts[task] = _part(line, store, metric)


def _is_fraction(line: Mapping[str, Any]) -> bool:
    value, metric = line["value"], line["metric"] or ""
    return value is not None and 0 <= value <= 1 and is_fraction(metric)


def _part(line: Mapping[str, Any], store: Store, metric: str) -> Part:
    return Part(
        task=line["task"],
        value=line["value"],
        n=line["n"],
        n_all=line["n_all"],
        remark=line["remark"] or "",
        answer=line["answer"],
        conditions=recorded(line),
        samples=functools.partial(_samples, store, line["key"], line["task"], metric),
    )


def _samples(store: Store, key: str, task: str, metric: str) -> dict[str, float]:
    return scores_of(store.arrays(key), task, metric)


def _add_curves(row: Row, measured: pd.DataFrame) -> None:
    for line in lines_of(measured):
        if line["length"] is None or (line["metric"] or "").partition("@")[0] != "perplexity":
            continue
        if line["kind"] == "perplexity":
            continue  # Table 1 is cumulative
        books = _books(line)
        curve = row.curves.setdefault(books, {})
        if line["value"] is None and curve.get(line["length"]) is not None:
            continue  # an older run has more to say
        curve[line["length"]] = line["value"]
        if line["remark"]:
            row.remarks[books] = line["remark"]
        else:
            row.remarks.pop(books, None)


def _books(line: Mapping[str, Any]) -> str:
    """Return what tells a set of documents from others; lm-eval says only how many there were."""
    if line["kind"] not in HARNESSES:
        return str(line["task"]) + ("" if line["host"] == OWN_HOST else f", {line['host']}")
    plural = "" if line["n"] == 1 else "s"
    which = (line["prompts"] or line["key"])[:6]
    return f"{line['task']} ({line['n']} document{plural}, {which}), {line['host']}"


def lines_of(measured: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the frame's rows with None for what is not there."""
    columns = [
        [None if missing else value for value, missing in zip(column, column.isna(), strict=True)]
        for _, column in measured.items()
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(measured.columns, values, strict=True))


def items_of(parts: Sequence[Part], of: int | None) -> list[str]:
    """Say where a score is not of all its items: of the protocol's, or as the tasks say."""
    if any(part.n is None for part in parts):
        return [] if of is None else [f"its number of items is not known: {of} are due"]
    if of is None and all(part.n_all is not None for part in parts):
        of = sum(part.n_all or 0 for part in parts)
    items = sum(part.n or 0 for part in parts)
    return [] if of in (None, items) else [f"{items} of {of} items"]


def _blank(*reasons: str) -> Score:
    return Score(value=None, parts=(), notes=reasons)
