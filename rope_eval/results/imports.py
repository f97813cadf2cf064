"""What plain `lm_eval --output_path` wrote, as runs of the store."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval.errors import DataError
from rope_eval.protocols.columns import protocol_of
from rope_eval.results.store import Run, run_key

MEAN_TOLERANCE = 1e-6

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A run to put into the store, and its arrays.

    The arrays are, for each task with samples, ``TASK/docs`` (the items' names, ``doc_id:hash``)
    and ``TASK/METRIC,FILTER`` for each metric whose score is the mean of its samples.
    """

    run: Run
    arrays: dict[str, npt.NDArray[Any]]


def read_lm_eval(folder: Path, row: str | None = None) -> list[Imported]:
    """Return a run for every ``results_*.json`` below a folder, with the samples beside it.

    The key is that of the files' content, so the same files are the same run wherever they lie.

    Args:
        folder: what was given to ``--output_path``.
        row: the row of the catalogue that the scores belong to; by default it is found by the
            model and its setting when a table is made.

    Raises:
        DataError: for a folder without results, and files that lm-eval has not written whole.
    """
    files = sorted(folder.rglob("results_*.json"))
    if not files:
        raise DataError(
            f"{folder} has no results_*.json: give the folder that lm_eval had as --output_path"
        )
    return [_read(file, row) for file in files]


def _read(file: Path, row: str | None) -> Imported:
    digest = hashlib.sha256()
    record = _json(file, _bytes(file, digest), dict)
    for key in ("results", "configs", "config"):
        if not isinstance(record.get(key), dict):
            raise DataError(f"{file}: {key} is missing: not a results file of lm_eval")
    arguments = _arguments(record["config"].get("model_args"))
    tasks: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    stamp = file.stem.removeprefix("results_")
    for name, scores in record["results"].items():
        if name not in record["configs"]:
            continue  # a group: it is worked out from its parts
        tasks[name] = _task(record, name, scores)
        samples = file.parent / f"samples_{name}_{stamp}.jsonl"
        if samples.is_file() and "missing" not in tasks[name]["metadata"]:
            found = _samples(samples, _bytes(samples, digest), tasks[name])
            tasks[name]["samples"] = sorted(found.keys() - {"docs"})
            arrays |= {f"{name}/{metric}": array for metric, array in found.items()}
    request = {
        "kind": "lm_eval",
        "model": _label(arguments, record),
        "model_args": arguments,
        "rope": record["config"].get("rope") or {},
        "tasks": sorted(tasks),
        "content": digest.hexdigest(),
    }
    run = Run(
        key=run_key(request),
        kind="lm_eval",
        status="done",
        request=request,
        results={
            "row": row,
            "protocols": sorted({task["protocol"] for task in tasks.values()}),
            "tasks": tasks,
        },
        provenance=_provenance(file, record),
    )
    return Imported(run=run, arrays=arrays)


def _task(record: Mapping[str, Any], name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's scores as fractions (None for what is not a number), and its counts."""
    counts = record.get("n-samples", {}).get(name, {})
    metadata = record["configs"][name].get("metadata") or {}
    return {
        "protocol": protocol_of(name),
        "metrics": {
            key: value if isinstance(value, int | float) else None
            for key, value in scores.items()
            if "," in key and "_stderr," not in key and not isinstance(value, dict)
        },
        "n": counts.get("effective", scores.get("sample_len")),
        "n_all": counts.get("original"),
        "version": record.get("versions", {}).get(name),
        "num_fewshot": record.get("n-shot", {}).get(name),
        "hash": record.get("task_hashes", {}).get(name),
        "metadata": {key: metadata[key] for key in metadata if key != "config_source"},
        "answers": next((value for value in scores.values() if isinstance(value, dict)), {}),
        "samples": [],
    }


def _samples(file: Path, content: bytes, task: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the items' names as ``docs``, and the samples of each metric that is their mean."""
    docs: dict[str, list[str]] = {}
    values: dict[str, list[Any]] = {}
    lines = content.decode(errors="replace").splitlines()
    for number, line in enumerate(filter(None, lines), start=1):
        sample = _json(Path(f"{file}:{number}"), line.encode(), dict)
        try:
            kind = sample["filter"]
            docs.setdefault(kind, []).append(f"{sample['doc_id']}:{sample['doc_hash'][:16]}")
            for metric in sample["metrics"]:
                values.setdefault(f"{metric},{kind}", []).append(sample[metric])
        except (LookupError, TypeError) as error:
            raise DataError(
                f"{file}:{number} is not a sample of lm_eval: {error} is missing"
            ) from None
    for items in docs.values():
        if task["n"] is not None and len(items) != task["n"]:
            raise DataError(f"{file} has {len(items)} samples of {task['n']}: it is not whole")
    names = next(iter(docs.values()), [])
    found = {
        metric: np.array(column, dtype=np.float64)
        for metric, column in values.items()
        if docs[metric.split(",", 1)[1]] == names
        and all(isinstance(value, int | float) for value in column)
    }
    order = np.argsort(np.array(names))
    means = {
        metric: column[order].astype(np.float32)
        for metric, column in found.items()
        if _is_mean(column, task["metrics"].get(metric))
    }
    return means and {"docs": np.array(names)[order], **means}


def _is_mean(values: npt.NDArray[np.float64], score: float | None) -> bool:
    return score is not None and abs(float(values.mean()) - score) < MEAN_TOLERANCE


def _label(arguments: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return what a model is called: its name on the hub, or the last part of its path."""
    name = arguments.get("pretrained") or arguments.get("model") or arguments.get("config")
    parts = [str(name or record.get("model_name") or record["config"].get("model"))]
    if arguments.get("peft"):
        parts.append(str(arguments["peft"]))
    label = " + ".join(Path(p).name if p[0] in "./~" or p.count("/") > 1 else p for p in parts)
    revision = arguments.get("revision", "main")
    return label if revision == "main" else f"{label}@{revision}"


def _arguments(given: Any) -> dict[str, Any]:
    """Return --model_args as a mapping (older releases wrote a text), without tokens."""
    if isinstance(given, str):
        given = dict(pair.partition("=")[::2] for pair in given.split(",") if pair)
    elif not isinstance(given, dict):
        given = {}
    text: str = _TOKEN.sub("hf_***", json.dumps(given))
    return dict(json.loads(text))


def _provenance(file: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    started, seconds = record.get("date"), record.get("total_evaluation_time_seconds")
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="microseconds")
        if isinstance(started, int | float)
        else "",
        "duration_s": None if seconds is None else float(seconds),
        "file": file.name,
        "git_commit": record.get("git_hash"),
        "versions": {
            "lm-eval": record.get("lm_eval_version"),
            "transformers": record.get("transformers_version"),
        },
    }


def _bytes(file: Path, digest: Any) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    digest.update(content)
    return content


def _json(file: Path, content: bytes, kind: type) -> Any:
    try:
        value = json.loads(content, parse_constant=lambda _: None)  # a NaN is no number
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}: was it written whole?") from error
    if not isinstance(value, kind):
        raise DataError(f"{file}: expected a {kind.__name__}, got {type(value).__name__}")
    return value
