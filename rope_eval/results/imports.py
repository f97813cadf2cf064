"""What plain `lm_eval --output_path` wrote, as runs of the store."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval import catalogue
from rope_eval.errors import DataError, SpecError
from rope_eval.files import open_file
from rope_eval.protocols.columns import metric_of, protocol_of
from rope_eval.results import identity
from rope_eval.results.conditions import prompting
from rope_eval.results.item_texts import ARRAY, packed, text_of
from rope_eval.results.metrics import NOT_RUN, at, is_of_ruler, length_of_task, part_of_item
from rope_eval.results.samples import arrays_of, sums_of
from rope_eval.results.store import Run, run_key
from rope_eval.rope.spec import FIELDS, RopeSpec
from rope_eval.safe_text import masked_values

MEAN_TOLERANCE = 1e-6

_STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)$")
_ROPE = re.compile(r"(.*_)?rope(_|$)", re.IGNORECASE)
_CONFIG_OVERRIDES = ("hf_overrides", "json_model_override_args")
_OTHER_WEIGHTS = ("peft", "delta", "subfolder", "gguf_file")
_NOTHING: tuple[Any, ...] = (None, "", "None", "null", "{}", {})
_NUMBER = (int, float)
_MOST = 1 << 53  # no count is more


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
    record = _Fields(str(file), masked_values(_json(str(file), _bytes(file, digest))))
    results, configs, config = (record.need(key, dict) for key in ("results", "configs", "config"))
    setting = _Fields(f"{file}: config", config)
    arguments = _arguments(setting)
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
            found = _samples(samples, _bytes(samples, digest), name, tasks[name])
        if (length := length_of_task(name, tasks[name]["metadata"])) is not None:
            found = _at_length(length, tasks[name], found)
        tasks[name]["samples"] = sorted(key for key in found if "," in key and "/" not in key)
        arrays |= {f"{name}/{metric}": array for metric, array in found.items()}
    # not `identity.request`: the content of the files says all, and the same on every machine
    request = {
        "kind": "lm_eval",
        "model": _label(arguments, record, setting),
        "model_args": arguments,
        "rope": _rope(setting),
        "tasks": sorted(tasks),
        "content": digest.hexdigest(),
    }
    if overrides := _overrides(arguments, ours="rope" in config):
        request["overrides"] = overrides
    run = Run(
        key=run_key(request),
        kind="lm_eval",
        status="done",
        request=request,
        results={
            "row": row,
            "fingerprint": _fingerprint(arguments),
            "prompting": prompting(record.data),
            "dtype": setting.get("model_dtype", str),
            "protocols": sorted({task["protocol"] for task in tasks.values()}),
            "tasks": tasks,
        },
        provenance=_provenance(file, record) | _ran(setting),
    )
    return Imported(run=run, arrays=arrays)


# ---- the model and its setting -----------------------------------------------------------------


def _arguments(config: _Fields) -> dict[str, Any]:
    """Return --model_args as a mapping; older releases wrote a text."""
    given = config.get("model_args", (str, dict), {})
    if isinstance(given, str):
        given = dict(pair.partition("=")[::2] for pair in _pairs(given) if pair)
    return dict(given)


def _pairs(text: str) -> Iterator[str]:
    """Yield the parts of a text between its commas, those inside brackets excepted."""
    depth = start = 0
    for i, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth <= 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def _label(arguments: Mapping[str, Any], record: _Fields, config: _Fields) -> str:
    """Return what a model is called: its name on the hub, or the last part of its path."""
    name = _model(arguments) or arguments.get("config")
    name = name or record.get("model_name", str) or config.get("model", str)
    parts = [str(name), *([str(arguments["peft"])] if arguments.get("peft") else [])]
    label = " + ".join(map(identity.label_of_text, parts))
    revision = arguments.get("revision", "main")
    return label if revision == "main" else f"{label}@{revision}"


def _model(arguments: Mapping[str, Any]) -> str | None:
    name = arguments.get("pretrained") or arguments.get("model")
    return None if name is None else str(name)


def _fingerprint(arguments: Mapping[str, Any]) -> str | None:
    """Return which model it was, as far as the name, or what lies there now, tells it."""
    if any(arguments.get(name) for name in _OTHER_WEIGHTS):
        return None
    if arguments.get("revision", "main") != "main":
        return None
    name = _model(arguments)
    if name is None and arguments.get("config"):
        rows = catalogue.load(checkpoints=catalogue.read_checkpoints())
        row = rows.get(str(arguments["config"]))
        name = row.checkpoint if row else None
    return None if name is None else identity.fingerprint(name)


def _rope(config: _Fields) -> dict[str, Any]:
    rope = config.get("rope", dict, {})
    try:
        return RopeSpec.from_dict(rope).to_dict()
    except SpecError as error:
        raise DataError(f"{config.where}.rope: {error}") from error


def _overrides(arguments: Mapping[str, Any], *, ours: bool) -> dict[str, str]:
    """Return what the arguments change of a model's own RoPE, beside the fields of `RopeSpec`.

    What a stock host makes of them is not known here, so they are kept as they were given.
    """
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in arguments.items()
        if (_ROPE.match(name) or name in _CONFIG_OVERRIDES)
        and value not in _NOTHING
        and not (ours and name in FIELDS)
    }


# ---- the scores --------------------------------------------------------------------------------


def _task(record: _Fields, name: str) -> dict[str, Any]:
    """Return a task's scores as fractions (None for what is not a number), and its counts."""
    scores = _Fields(f"{record.where}: results.{name}", record.need("results", dict)[name])
    config = _Fields(f"{record.where}: configs.{name}", record.need("configs", dict)[name])
    metadata = config.get("metadata", (dict, list), {})
    if isinstance(metadata, list):  # of lm-eval 0.4.0
        metadata = {}
    counts = _Fields(f"{record.where}: n-samples.{name}", record.of(name, "n-samples", dict, {}))
    answers = _Fields(
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
        "version": record.of(name, "versions", (str, *_NUMBER)),
        "num_fewshot": record.of(name, "n-shot", (str, *_NUMBER)),
        "hash": record.of(name, "task_hashes", str),
        "metadata": {key: metadata[key] for key in metadata if key != "config_source"},
        "higher_is_better": {m: bool(up) for m, up in higher.items() if up is not None},
        "answers": {answer: answers.count(answer) for answer in answers.data},
    }
    if task["n"] == 0 and "missing" not in metadata:
        raise DataError(f"{counts.where}.effective: a score of no items")
    return task


def _cut_prompts(config: _Fields, task: str) -> dict[str, Any]:
    """Return how many of a task's prompts were cut to the model's length, where our model says."""
    given = config.of(task, "cut_prompts", dict)
    if given is None:
        return {}
    counts = _Fields(f"{config.where}: cut_prompts.{task}", given)
    return {"cut_prompts": {name: counts.count(name, 0) for name in ("cut", "of")}}


def _score(scores: _Fields, task: str, key: str) -> float | None:
    """Return a score: None for NaN and "N/A"; one that cannot be is an error."""
    value, where = scores.data[key], f"{scores.where}.{key}"
    metric = key.partition(",")[0]
    fraction = key == metric_of(task) or metric == "exact_match" or metric.startswith("acc")
    if value is None or value == "N/A":
        return None
    if isinstance(value, bool) or not isinstance(value, _NUMBER):
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


def _samples(
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
        sample = _json(f"{file}:{number}", line)
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


def _at_length(
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
    if score is None or not all(isinstance(value, _NUMBER) for value in values):
        return False
    largest = float(np.finfo(np.float32).max)
    if not all(-largest <= value <= largest for value in values):
        return False
    return abs(math.fsum(values) / len(values) - score) < MEAN_TOLERANCE


# ---- the file ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object of a file, whose fields are of the types that lm-eval writes."""

    where: str
    data: Any

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise DataError(f"{self.where}: expected a dict, got {type(self.data).__name__}")

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        """Return a field, or the default for null and what is not there."""
        value = self.data.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{self.where}: {name}: {value!r:.60} is not what lm_eval writes there")
        return value

    def need(self, name: str, kind: type) -> Any:
        """Return a field that must be there."""
        value = self.get(name, kind)
        if value is None:
            raise DataError(f"{self.where}: {name} is missing: not a results file of lm_eval")
        return value

    def of(self, task: str, name: str, kind: Any, default: Any = None) -> Any:
        """Return a task's entry of a field that is a mapping by tasks."""
        return _Fields(f"{self.where}: {name}", self.get(name, dict, {})).get(task, kind, default)

    def count(self, name: str, default: int | None = None) -> int | None:
        """Return a field that is a number of things."""
        value: int | None = self.get(name, int, default)
        if value is not None and not 0 <= value < _MOST:
            raise DataError(f"{self.where}: {name}: want 0 or more, got {value!r:.60}")
        return value


def _provenance(file: Path, record: _Fields) -> dict[str, Any]:
    started = record.get("date", _NUMBER)
    seconds = record.get("total_evaluation_time_seconds", (str, *_NUMBER))
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


def _ran(config: _Fields) -> dict[str, Any]:
    """Return the dtype that the model ran in, where lm-eval or our model has recorded it."""
    dtype = config.get("dtype", str) or config.get("model_dtype", str)
    return {"ran": [{"dtype": dtype.removeprefix("torch.")}]} if dtype else {}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a task's name that is no file's
        return False


def _bytes(file: Path, digest: Any) -> bytes:
    try:
        with open_file(file) as raw:
            content = raw.read()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    digest.update(content)
    return content


def _json(where: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content, parse_constant=lambda _: None)  # a NaN is no number
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}: was it written whole?") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    return value
