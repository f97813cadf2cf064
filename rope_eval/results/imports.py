"""What plain `lm_eval --output_path` wrote, as runs of the store."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rope_eval.errors import DataError
from rope_eval.protocols.columns import metric_of, protocol_of
from rope_eval.results.conditions import prompting
from rope_eval.results.lm_eval_files import NUMBER, Fields, content_of, json_object
from rope_eval.results.lm_eval_samples import at_length, read_samples
from rope_eval.results.lm_eval_setting import (
    arguments_of,
    fingerprint_of,
    label_of,
    overrides_of,
    ran_of,
    rope_of,
)
from rope_eval.results.metrics import length_of_task
from rope_eval.results.store import Run, run_key
from rope_eval.safe_text import masked_values

_STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A run to put into the store, and its arrays.

    The arrays are, for each task with samples, those of `rope_eval.results.samples`: of each metric
    whose score is the mean of its samples, or is made of their sums. The words of its items are
    those of `rope_eval.results.item_texts`.
    """

    run: Run
    arrays: dict[str, npt.NDArray[Any]]


def read_lm_eval(
    path: Path, row: str | None = None, on_bad: Callable[[DataError], None] | None = None
) -> list[Imported]:
    """Return a run for every results file below a folder, with the samples beside it.

    The key is that of the files' content, so the same files are the same run wherever they lie.

    Args:
        path: what was given to ``--output_path``, a folder or NAME.json, or a results file.
        row: the row of the catalogue that the scores belong to; by default it is found by the
            model and its setting when a table is made.
        on_bad: called with the error of each file that cannot be read, which is then left out.

    Raises:
        DataError: for no results, or a file that lm-eval has not written, or not whole; with
            `on_bad`, where none can be read.
    """
    files = _results_files(path)
    if not files:
        raise DataError(f"{path} has no results_*.json: give what lm_eval had as --output_path")
    read = []
    for file in files:
        try:
            read.append(_read(file, row))
        except DataError as error:
            if on_bad is None or (file == files[-1] and not read):
                raise
            on_bad(error)
    return read


def _results_files(path: Path) -> list[Path]:
    """Return results_TIME.json files, and NAME_TIME.json of --output_path NAME.json."""
    try:
        is_given = path.exists() and not path.is_dir()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if is_given:
        return [path]
    if path.suffix == ".json":
        found = path.parent.glob("*.json")
        return sorted(f for f in found if _STAMP.sub("", f.stem) == path.stem and f != path)
    return sorted(
        file
        for file in path.rglob("*.json")
        if file.name.startswith("results_") or _STAMP.search(file.stem)
    )


def _read(file: Path, row: str | None) -> Imported:
    digest = hashlib.sha256()
    record = Fields(str(file), masked_values(json_object(str(file), content_of(file, digest))))
    results, configs, config = (record.need(key, dict) for key in ("results", "configs", "config"))
    setting = Fields(f"{file}: config", config)
    arguments = arguments_of(setting)
    tasks: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    stamp = _STAMP.search(file.stem)
    ending = stamp[1] if stamp else file.stem.removeprefix("results_")
    for name in results:
        if name not in configs:
            continue  # a group: it is worked out from its parts
        tasks[name] = _task(record, name) | _cut_prompts(setting, name)
        samples = file.parent / f"samples_{name}_{ending}.jsonl"
        found: dict[str, npt.NDArray[Any]] = {}
        if _is_file(samples) and "missing" not in tasks[name]["metadata"]:
            found = read_samples(samples, content_of(samples, digest), name, tasks[name])
        if (length := length_of_task(name, tasks[name]["metadata"])) is not None:
            found = at_length(length, tasks[name], found)
        tasks[name]["samples"] = sorted(key for key in found if "," in key and "/" not in key)
        arrays |= {f"{name}/{metric}": array for metric, array in found.items()}
    # not `identity.request`: the content of the files says all, and the same on every machine
    request = {
        "kind": "lm_eval",
        "model": label_of(arguments, record, setting),
        "model_args": arguments,
        "rope": rope_of(setting),
        "tasks": sorted(tasks),
        "content": digest.hexdigest(),
    }
    if overrides := overrides_of(arguments, ours="rope" in config):
        request["overrides"] = overrides
    run = Run(
        key=run_key(request),
        kind="lm_eval",
        status="done",
        request=request,
        results={
            "row": row,
            "fingerprint": fingerprint_of(arguments),
            "prompting": prompting(record.data),
            "dtype": setting.get("model_dtype", str),
            "protocols": sorted({task["protocol"] for task in tasks.values()}),
            "tasks": tasks,
        },
        provenance=_provenance(file, record) | ran_of(setting),
    )
    return Imported(run=run, arrays=arrays)


# ---- the scores --------------------------------------------------------------------------------


def _task(record: Fields, name: str) -> dict[str, Any]:
    """Return a task's scores as fractions (None for what is not a number), and its counts."""
    scores = Fields(f"{record.where}: results.{name}", record.need("results", dict)[name])
    config = Fields(f"{record.where}: configs.{name}", record.need("configs", dict)[name])
    metadata = config.get("metadata", (dict, list), {})
    if isinstance(metadata, list):  # of lm-eval 0.4.0
        metadata = {}
    counts = Fields(f"{record.where}: n-samples.{name}", record.of(name, "n-samples", dict, {}))
    answers = Fields(
        f"{scores.where}: answers",
        next((value for value in scores.data.values() if isinstance(value, dict)), {}),
    )
    higher = record.of(name, "higher_is_better", dict, {})
    task = {
        "protocol": protocol_of(name),
        "metrics": {
            key: _score(scores, name, key)
            for key, value in scores.data.items()
            if "," in key and "_stderr," not in key and not isinstance(value, dict)
        },
        "n": counts.count("effective", scores.count("sample_len")),
        "n_all": counts.count("original"),
        "version": record.of(name, "versions", (str, *NUMBER)),
        "num_fewshot": record.of(name, "n-shot", (str, *NUMBER)),
        "hash": record.of(name, "task_hashes", str),
        "metadata": {key: metadata[key] for key in metadata if key != "config_source"},
        "higher_is_better": {m: bool(up) for m, up in higher.items() if up is not None},
        "answers": {answer: answers.count(answer) for answer in answers.data},
    }
    if task["n"] == 0 and "missing" not in metadata:
        raise DataError(f"{counts.where}.effective: a score of no items")
    return task


def _cut_prompts(config: Fields, task: str) -> dict[str, Any]:
    """Return how many of a task's prompts were cut to the model's length, where our model says."""
    given = config.of(task, "cut_prompts", dict)
    if given is None:
        return {}
    counts = Fields(f"{config.where}: cut_prompts.{task}", given)
    return {"cut_prompts": {name: counts.count(name, 0) for name in ("cut", "of")}}


def _score(scores: Fields, task: str, key: str) -> float | None:
    """Return a score: None for NaN and "N/A"; one that cannot be is an error."""
    value, where = scores.data[key], f"{scores.where}.{key}"
    metric = key.partition(",")[0]
    fraction = key == metric_of(task) or metric == "exact_match" or metric.startswith("acc")
    if value is None or value == "N/A":
        return None
    if isinstance(value, bool) or not isinstance(value, NUMBER):
        if fraction:
            raise DataError(f"{where}: want a number, got {value!r:.60}")
        return None
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise DataError(f"{where}: want a finite number, got {value!r:.60}")
    if fraction and not 0 <= value <= 1:
        raise DataError(f"{where}: want a fraction from 0 to 1, got {value!r:.60}")
    return value


# ---- the file ----------------------------------------------------------------------------------


def _provenance(file: Path, record: Fields) -> dict[str, Any]:
    started = record.get("date", NUMBER)
    seconds = record.get("total_evaluation_time_seconds", (str, *NUMBER))
    try:
        when = None if started is None else datetime.fromtimestamp(started, UTC)
        duration = None if seconds is None else float(seconds)
        if duration is not None and not math.isfinite(duration):
            raise ValueError(f"{duration} seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"{file}: date or total_evaluation_time_seconds: {error}") from error
    return {
        "started": when.isoformat(timespec="microseconds") if when else "",
        "duration_s": duration,
        "file": file.name,
        "git_commit": record.get("git_hash", str),
        "versions": {
            "lm-eval": record.get("lm_eval_version", str),
            "transformers": record.get("transformers_version", str),
        },
    }


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a task's name that is no file's
        return False
