"""One frame: every number of the store in a row of its own, for pandas and for the tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rope_eval.protocols.perplexity import CUMULATIVE, PerplexityProtocol
from rope_eval.results.conditions import CONDITIONS, conditions
from rope_eval.results.intervals import Intervals
from rope_eval.results.metrics import NOT_RUN, better, is_of_ruler, length_of, measurement_of
from rope_eval.results.naming import Names, setting_text, weights
from rope_eval.results.store import Run, Store
from rope_eval.safe_text import for_spreadsheet, shown
from rope_eval.scores import Sums

if TYPE_CHECKING:
    import pandas as pd

HARNESSES: Mapping[str, str] = MappingProxyType(
    {"lm_eval": "lm-eval", "opencompass": "OpenCompass"}
)
"""Who ran the tasks, by the kind of a run."""
OWN_HOST = "rope-eval"
BOOKS = ("cumulative", "perplexity")
"""Kinds of runs of whole books: of the cumulative protocol, and of another."""

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "row": "string",  # the catalogue's name, or the model's and its setting
        "model": "string",
        "weights": "string",  # which checkpoint, where two have one name
        "setting": "string",
        "kind": "string",
        "host": "string",
        "backend": "string",
        "protocol": "string",
        "measurement": "string",  # perplexity, retrieval, ruler, longbench, or task
        "task": "string",  # or the books
        "metric": "string",
        "better": "string",  # higher or lower, where that is known
        "length": "Int64",  # tokens seen
        "value": "float64",  # a fraction, or perplexity; NaN where there is none
        "low": "float64",  # its 95 % interval, where that was asked for
        "high": "float64",
        "n": "Int64",  # what it is a mean of: items, or scored tokens
        "n_all": "Int64",  # how many items the task has
        "remark": "string",  # why there is no value, or how it was made
        "answer": "string",  # the one that was given to all items, if one was
        "prompts": "string",  # the digest of a task's prompts
        **dict.fromkeys(CONDITIONS, "string"),  # how it was asked for, as far as it is recorded
        "key": "string",
        "started": "string",
        "commit": "string",
    }
)
"""The columns of `frame`, and their types."""

_KINDS: Mapping[str, Any] = {"string": str, "Int64": int, "float64": (int, float)}
_MOST = 1 << 63
LENGTH_NOT_RUN = "its length was not run"
_NO_NUMBER = "its score is not a number"


def frame(store: Store, names: Names | None = None, *, intervals: bool = False) -> pd.DataFrame:
    """Return what the store's done runs measured, a row a (run, task or books, metric, length).

    The runs are those of whole books and of tasks; the measurements of a study are
    the study's to read. A failed run has its reason in the place of values: whole books a row a
    length, tasks one row. Rows of older runs stand first.

    Args:
        store: the runs.
        names: of the rows; by default the catalogue's.
        intervals: work out ``low`` and ``high``, which `rope_eval.results.intervals` describes;
            reading what items got takes time. Else they are empty.

    Raises:
        StoreError: the store cannot be read; damaged runs are left out, as `Store.runs` says.
    """
    import pandas as pd

    names = names or Names()
    rows: list[dict[str, Any]] = []
    for run in store.runs():
        if run.kind in _READERS:
            try:
                rows += list(_rows(run, names, Intervals(store, run) if intervals else None))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                store.leave_out(run.key, f"its record is of another shape: {error!r}")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def rows(run: Run, names: Names | None = None) -> list[dict[str, Any]]:
    """Return a run's rows of the frame; none for a run of a kind that has none there."""
    return list(_rows(run, names or Names(), None)) if run.kind in _READERS else []


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet takes for a formula, and no terminal obeys."""
    texts = table.select_dtypes(exclude="number").astype("string")
    safe = texts.map(lambda text: for_spreadsheet(shown(text)), na_action="ignore")
    return table.assign(**{str(name): column for name, column in safe.astype("string").items()})


def _rows(run: Run, names: Names, intervals: Intervals | None) -> Iterator[dict[str, Any]]:
    host = run.request.get("harness", run.kind)
    common = {
        "row": shown(names.row(run)),
        "model": run.request["model"],
        "weights": weights(run),
        "setting": setting_text(run),
        "kind": run.kind,
        "host": HARNESSES.get(host, OWN_HOST),
        "backend": run.request.get("backend"),
        "key": run.key,
        "started": run.provenance.get("started"),
        "commit": run.provenance.get("git_commit"),
    }
    if run.status == "failed":
        common["remark"] = f"failed: {run.error}"
        if run.kind not in BOOKS:
            yield _checked(common)
            return
    for measured in _READERS[run.kind](run):
        metric = measured.get("metric")
        if metric:
            measured["better"] = better(metric, measured.pop("higher_is_better", None))
        if intervals is not None and measured.get("value") is not None:
            measured["low"], measured["high"] = intervals.of(measured) or (None, None)
        yield _checked(measured | common)


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row; a cell that is not of its column's type is a `TypeError`."""
    for name, value in row.items():
        if value is not None and not (
            isinstance(value, _KINDS[COLUMNS[name]]) and not isinstance(value, bool)
        ):
            raise TypeError(f"{name} is {value!r:.60}")
        if COLUMNS[name] == "Int64" and not -_MOST < (value or 0) < _MOST:
            raise TypeError(f"{name} is {value!r:.60}")
    return row


def books_of(run: Run) -> str:
    """Return the books of a run as they are called, how many documents, and which."""
    failed = run.results.get("failed", [])
    asked, lost = run.request["documents"], {one["sha256"] for one in failed}
    documents = [one for one in asked if one["sha256"] not in lost]
    # other lengths can choose other documents, and curves of other documents do not compare
    content = hashlib.sha256("".join(d["sha256"] for d in documents).encode()).hexdigest()[:6]
    of = f" of {len(asked)}" if failed else ""
    plural = "" if len(asked) == 1 else "s"
    protocol = _perplexity_protocol(run)
    # what is of another protocol is of another task to whatever reads this, so nothing mixes them
    source = run.request["books"] + (f", {protocol.label}" if protocol != CUMULATIVE else "")
    return f"{source} ({len(documents)}{of} document{plural}, {content})"


def _perplexity_protocol(run: Run) -> PerplexityProtocol:
    return PerplexityProtocol.from_dict(run.request.get("perplexity_protocol", {}))


def _curve(run: Run) -> Iterator[dict[str, Any]]:
    failed, books = run.results.get("failed", []), books_of(run)
    for i, length in enumerate(run.request["lengths"]):
        common = {
            "measurement": "perplexity",
            "task": books,
            "length": length,
            "protocol": _perplexity_protocol(run).label,
        } | conditions(run)
        if run.status == "failed":
            yield common | {"metric": "perplexity"}
            continue
        if failed:
            common["remark"] = "failed: " + "; ".join(one["error"] for one in failed)
        sums = Sums(**run.results["totals"][i])
        for metric, value in (("perplexity", sums.perplexity), ("accuracy", sums.accuracy)):
            yield common | {"metric": metric, "value": value, "n": sums.tokens}


def _tasks(run: Run) -> Iterator[dict[str, Any]]:
    for task, record in run.results["tasks"].items():
        metadata, higher = record["metadata"], record.get("higher_is_better", {})
        common = {
            "measurement": measurement_of(task),
            "task": task,
            "protocol": _protocol(metadata) or record["protocol"],
            "n_all": record["n_all"],
            "answer": _constant(record["answers"]),
            "prompts": record["hash"],
        } | conditions(run, record)
        missing = metadata.get("missing")
        if missing:
            yield common | {"n": record["n"], "remark": str(missing)}
        for metric, value in record["metrics"].items():
            if value is None and missing:
                continue
            remark = "; ".join([_NO_NUMBER] if value is None else _cuts(record))
            name = metric.partition(",")[0]
            not_run = is_of_ruler(metric) and value == NOT_RUN
            yield (
                common
                | _items(record, metric)
                | {
                    "metric": metric,
                    "higher_is_better": higher.get(name, higher.get(name.partition("@")[0])),
                    "length": length_of(metric),
                    "value": None if not_run else value,
                    "remark": LENGTH_NOT_RUN if not_run else remark or None,
                }
            )


def _items(record: Mapping[str, Any], metric: str) -> dict[str, int | None]:
    """Return how many items a metric is of, and how many there are.

    Where it is not of all, as RULER's are of a length each, the task does not say how many of its
    own there are; they are all there if all of the task's are.
    """
    count: int | None = record.get("counts", {}).get(metric)
    if count is None:
        return {"n": record["n"], "n_all": record["n_all"]}
    return {"n": count, "n_all": count if record["n"] == record["n_all"] else None}


_READERS: Mapping[str, Callable[[Run], Iterator[dict[str, Any]]]] = MappingProxyType(
    dict.fromkeys(BOOKS, _curve) | dict.fromkeys(HARNESSES, _tasks)
)


def _protocol(metadata: Mapping[str, Any]) -> str | None:
    """Return the perplexity protocol of a task that has another than cumulative."""
    of_books = "perplexity_protocol" in metadata
    return PerplexityProtocol.of(metadata).label if of_books else None


def _constant(answers: Mapping[str, int]) -> str | None:
    """Return the one answer that was given to several items, if it is the only one."""
    given = [(answer, count) for answer, count in answers.items() if count]
    return given[0][0] if len(given) == 1 and given[0][1] > 1 else None


def _cuts(record: Mapping[str, Any]) -> list[str]:
    """Return where a task's protocol cut its prompts, and how many a model's length did."""
    metadata, counts = record["metadata"], record.get("cut_prompts")
    found = []
    if "truncate_at" in metadata:  # `truncation` alone is a model's argument, which tasks get too
        cut, side = metadata["truncate_at"], metadata["truncation"]
        found.append(f"prompts cut to {cut} tokens on the {side}")
    if counts:
        found.append(f"{counts['cut']} of {counts['of']} prompts were cut")
    return found
