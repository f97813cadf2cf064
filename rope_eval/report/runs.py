"""From the store to rows: what was measured of a model under a setting, and why the rest is not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rope_eval import catalogue
from rope_eval.protocols.columns import TASKS, metric_of
from rope_eval.results.store import Run, Store
from rope_eval.rope.methods import NEED_LENGTHS
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import Sums

HARNESSES: Mapping[str, str] = MappingProxyType(
    {"lm_eval": "lm-eval", "opencompass": "OpenCompass"}
)
"""Who ran the tasks, by the kind of a run."""

_NO_NUMBER = "its score is not a number"
_LENGTHS_MATTER = NEED_LENGTHS


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A task's score in a column.

    Attributes:
        task: its name.
        value: a fraction, or None for what is not a number.
        n: how many items it is a mean of; None where the run does not say.
        n_all: how many items the task has.
        remark: why there is no number, or how it was made; or empty.
        answers: how often each answer was given, where the task counts them.
        samples: each item's score by its name, or empty where they were not kept.
    """

    task: str
    value: float | None
    n: int | None
    n_all: int | None = None
    remark: str = ""
    answers: Mapping[str, int] = field(default_factory=dict)
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


@dataclass(kw_only=True, slots=True)
class Row:
    """A model under a RoPE setting, with everything that the store has of it.

    Attributes:
        name: the row's name in the catalogue, or the model's and its setting.
        weights: which checkpoint was run, where rows of one name differ in it; else empty.
        paper: where it stands in results/paper: (size, label) by the table's name.
        harness: who ran its tasks, a key of HARNESSES; else empty.
        parts: the newest score of each task.
        repeated: tasks that an older run scored otherwise.
        curves: (length, perplexity) of each set of documents, by what they are called
            and a digest of their content: other lengths can choose other documents.
    """

    name: str
    weights: str
    paper: Mapping[str, tuple[str, str]]
    harness: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)

    def score(self, column: str, protocol: str) -> Score:
        """Return a column of this row, as `rope_eval.protocols.columns` makes it of tasks."""
        tasks = TASKS[protocol].get(column, ())
        if not tasks:
            return _blank(f"protocol {protocol} has no such column")
        parts = tuple(self.parts[task] for task in tasks if task in self.parts)
        values = [part.value for part in parts if part.value is not None]
        remarks = list(dict.fromkeys(part.remark for part in parts if part.remark))
        if not values:
            return _blank(*(remarks or ["not run"]))
        notes = remarks
        if len(values) < len(tasks):
            notes.append(f"mean of {len(values)} of {len(tasks)} parts")
        scored = tuple(part for part in parts if part.value is not None)
        if any(part.n_all is not None and part.n != part.n_all for part in scored):
            items, of = (sum(getattr(p, name) or 0 for p in scored) for name in ("n", "n_all"))
            notes.append(f"{items} of {of} items")
        notes += [f"{only} throughout" for part in parts if (only := _constant(part.answers))]
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
        StoreError: for a run that is damaged.
    """
    known = catalogue.load(checkpoints=catalogue.read_checkpoints())
    wanted = None if keys is None else set(keys)
    rows: dict[tuple[str, str, str], Row] = {}
    for run in store.runs():
        if run.status != "done" or (wanted is not None and run.key not in wanted):
            continue
        if run.kind not in (*HARNESSES, "cumulative"):
            continue
        name, weights = _row_name(run, known), _weights(run, known)
        places = known[name].paper if name in known else {}
        harness = run.kind if run.kind in HARNESSES else ""
        row = rows.setdefault(
            (run.kind, name, weights),
            Row(name=name, weights=weights, paper=places, harness=harness),
        )
        if harness:
            _add_tasks(row, run, store)
        else:
            _add_curve(row, run)
    names = Counter((kind, name) for kind, name, _ in rows)
    for (kind, name, _), row in rows.items():
        if names[kind, name] == 1:
            row.weights = ""
    order = {name: i for i, name in enumerate(known)}
    return sorted(rows.values(), key=lambda row: order.get(row.name, len(order)))


# ---- the store ---------------------------------------------------------------------------------


def _weights(run: Run, known: Mapping[str, catalogue.ModelSpec]) -> str:
    """Return what tells the checkpoint of a run from another of the same name."""
    if run.kind == "cumulative":
        return str(run.request["fingerprint"])[:12]
    arguments = run.request["model_args"]
    config = arguments.get("config")
    checkpoint = known[config].checkpoint if config in known else None
    named = arguments.get("pretrained") or arguments.get("model") or checkpoint
    parts = (named, arguments.get("revision"), arguments.get("peft"))
    return " + ".join(str(part) for part in parts if part)


def _row_name(run: Run, known: Mapping[str, catalogue.ModelSpec]) -> str:
    """Return the name of a run's row: in the catalogue, or the model's and its setting."""
    if run.results.get("row"):
        return str(run.results["row"])
    model, rope = run.request["model"], RopeSpec.from_dict(run.request["rope"])
    config = run.request.get("model_args", {}).get("config")
    for row in known.values():
        names = (row.checkpoint, Path(row.checkpoint).name) if row.checkpoint else ()
        if (row.name == config or model in names) and _effective(row.rope) == _effective(rope):
            return row.name
    setting = RopeSpec.from_dict(_effective(rope))
    return model if setting.is_neutral and model not in known else f"{model}, {setting}"


def _effective(rope: RopeSpec) -> dict[str, Any]:
    """Return the fields of a setting without the lengths, where nothing depends on them."""
    fields = rope.to_dict()
    if not any(name in fields for name in _LENGTHS_MATTER):
        fields = {k: v for k, v in fields.items() if k not in ("train_length", "tune_length")}
    return fields


def _add_tasks(row: Row, run: Run, store: Store) -> None:
    for task, record in run.results["tasks"].items():
        metric = metric_of(task)
        metadata, value = record["metadata"], record["metrics"].get(metric)
        missing = metadata.get("missing")
        if metric not in record["metrics"] and not missing:
            continue
        if value is None and task in row.parts:
            continue  # an older run has more to say

        def samples(task: str = task, metric: str = metric) -> dict[str, float]:
            arrays = store.arrays(run.key)
            return dict(zip(arrays[f"{task}/docs"], arrays[f"{task}/{metric}"], strict=True))

        part = Part(
            task=task,
            value=value,
            n=record["n"],
            n_all=record["n_all"],
            remark=_truncation(metadata) if value is not None else str(missing or _NO_NUMBER),
            answers=record["answers"],
            samples=samples if metric in record["samples"] else dict,
        )
        if task in row.parts and row.parts[task].value not in (None, part.value):
            row.repeated.add(task)
        row.parts[task] = part


def _add_curve(row: Row, run: Run) -> None:
    digests = [document["sha256"] for document in run.request["documents"]]
    content = hashlib.sha256("".join(digests).encode()).hexdigest()[:6]
    plural = "" if len(digests) == 1 else "s"
    books = f"{run.request['books']} ({len(digests)} document{plural}, {content})"
    if "harness" in run.request:
        books += f", {HARNESSES[run.request['harness']]}"
    totals = [Sums(**sums).perplexity for sums in run.results["totals"]]
    row.curves.setdefault(books, {}).update(zip(run.request["lengths"], totals, strict=True))


def _constant(answers: Mapping[str, int]) -> str | None:
    """Return the one answer that was given to several items, if it is the only one."""
    given = [(answer, count) for answer, count in answers.items() if count]
    return repr(given[0][0]) if len(given) == 1 and given[0][1] > 1 else None


def _truncation(metadata: Mapping[str, Any]) -> str:
    if "truncation" not in metadata:
        return ""
    return f"prompts cut to {metadata['truncate_at']} tokens on the {metadata['truncation']}"


def _blank(*reasons: str) -> Score:
    return Score(value=None, parts=(), notes=reasons)
