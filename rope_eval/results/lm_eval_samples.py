"""The samples that lm-eval wrote beside its results: what each item got, and its words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.errors import DataError
from rope_eval.results.item_texts import ARRAY, packed, text_of
from rope_eval.results.lm_eval_files import NUMBER, json_object
from rope_eval.results.metrics import NOT_RUN, at, is_of_ruler, part_of_item
from rope_eval.results.samples import arrays_of, sums_of

MEAN_TOLERANCE = 1e-6


def read_samples(
    file: Path, content: bytes, name: str, task: dict[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the items' names, their words, and the samples of each metric that is their mean.

    The task is told how many items a metric has that is not of all, and the scores of LongBench's
    parts. Samples of lm-eval up to 0.4.6 do not say their filter: where a task has several, none is
    kept.
    """
    filters = {key.partition(",")[2] for key in task["metrics"]}
    docs: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    texts: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        sample = json_object(f"{file}:{number}", line)
        try:
            if "filter" not in sample and len(filters) != 1:
                return {}
            kind, metrics = _measured(sample, task)
            item = f"{sample['doc_id']}:{sample['doc_hash'][:16]}"
            docs.setdefault(kind, []).append(item)
            if item not in texts and (words := text_of(sample)):
                texts[item] = words
            if part := part_of_item(name, sample.get("doc")):
                parts[item] = part
            for metric in metrics:
                if not (is_of_ruler(metric) and sample[metric] == NOT_RUN):
                    values.setdefault(f"{metric},{kind}", {})[item] = sample[metric]
        except LookupError as error:
            raise DataError(
                f"{file}:{number} is not a sample of lm_eval: {error} is missing"
            ) from None
        except TypeError as error:
            raise DataError(f"{file}:{number} is not a sample of lm_eval: {error}") from None
    for items in docs.values() or [[]]:
        if task["n"] is not None and len(items) != task["n"]:
            raise DataError(f"{file} has {len(items)} samples of {task['n']}: it is not whole")
    items = next(iter(docs.values()), [])
    whole = {m: column for m, column in values.items() if docs[m.partition(",")[2]] == items}
    means = {m: column for m, column in whole.items() if _is_mean(column, task["metrics"].get(m))}
    for metric, column in list(means.items()):
        for part in sorted({parts[item] for item in column if item in parts}):
            some = {item: score for item, score in column.items() if parts.get(item) == part}
            of_part = at(part, metric)
            means[of_part] = some
            task["metrics"][of_part] = math.fsum(some.values()) / len(some)
    task["counts"] = {m: len(column) for m, column in means.items() if len(column) < len(items)}
    sums = {m: sums_of(column) for m, column in whole.items() if m not in means}
    arrays = arrays_of(means | {m: column for m, column in sums.items() if column}, items)
    return arrays | ({ARRAY: packed(texts)} if arrays and texts else {})


def at_length(
    length: int, task: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Return a task's arrays with its length in the names of its metrics, as it then has too."""
    for name in ("metrics", "counts"):
        if name in task:
            task[name] = {at(length, metric): value for metric, value in task[name].items()}
    return {at(length, key) if "," in key else key: array for key, array in arrays.items()}


def _measured(sample: Mapping[str, Any], task: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return a sample's filter and metrics: the results say them where it does not."""
    if "filter" in sample:
        return str(sample["filter"]), [str(metric) for metric in sample["metrics"]]
    keys = [key.partition(",")[::2] for key in task["metrics"]]
    return keys[0][1], [metric for metric, _ in keys if metric in sample]


def _is_mean(column: Mapping[str, Any], score: float | None) -> bool:
    values = column.values()
    if score is None or not all(isinstance(value, NUMBER) for value in values):
        return False
    largest = float(np.finfo(np.float32).max)
    if not all(-largest <= value <= largest for value in values):
        return False
    return abs(math.fsum(values) / len(values) - score) < MEAN_TOLERANCE
