"""The summarizer of OpenCompass runs: what a run measured, into the store."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from opencompass.summarizers.default import DefaultSummarizer
from opencompass.utils import get_infer_output_path

from rope_eval.backends.hf.proof import OFF, is_wanted
from rope_eval.hosts.opencompass.configs import MODEL
from rope_eval.hosts.opencompass.environment import RESULTS
from rope_eval.hosts.opencompass.model import NOT_IN_KEY
from rope_eval.protocols.rules import histogram
from rope_eval.protocols.tasks import Task
from rope_eval.results import identity
from rope_eval.results.provenance import provenance
from rope_eval.results.store import DEFAULT_ROOT, Run, Store, run_key
from rope_eval.rope.spec import FIELDS, RopeSpec
from rope_eval.scores import Sums, total

VERSION = 1
Arrays = dict[str, npt.NDArray[Any]]


class StoreSummarizer(DefaultSummarizer):
    """OpenCompass's own summary, and a run in the store for every model.

    The data sets of `rope_eval.hosts.opencompass.configs` are stored, others are only in
    OpenCompass's summary. One that failed has no number in the store but the reason, and the
    process ends with exit status 1.

    Args:
        config: OpenCompass's, of the whole run.
        results: the folder of runs; by default what the environment variable ROPE_EVAL_RESULTS
            says, or results/runs.
        **arguments: OpenCompass's.
    """

    def __init__(self, config: Any, results: str | None = None, **arguments: Any):
        super().__init__(config, **arguments)
        self.store = Store(results or os.environ.get(RESULTS) or DEFAULT_ROOT)

    def summarize(self, output_path: str | None = None, time_str: str = "summary") -> None:
        """Write OpenCompass's summary, then the runs.

        Raises:
            SystemExit: where a data set of ours has no result.
        """
        super().summarize(output_path, time_str)
        failures: list[str] = []
        for model in self.model_cfgs:
            runs, failed = runs_of(model, self.dataset_cfgs, self.work_dir)
            failures += [f"{model['abbr']}, {why}" for why in failed]
            for run, arrays in runs:
                stored = self.store.put(run, arrays)
                print(f"rope-eval: {stored.key} {stored.kind} {model['abbr']} in {self.store.root}")
        if failures:
            print("rope-eval: error: failed work:", *failures, sep="\n  ", file=sys.stderr)
            raise SystemExit(1)


def runs_of(
    model: Mapping[str, Any], datasets: list[Any], work_dir: str
) -> tuple[list[tuple[Run, Arrays]], list[str]]:
    """Return the runs that a model's results make: one of all columns, and one a set of books.

    Args:
        model: its configuration.
        datasets: the configurations of the data sets; those of OpenCompass itself make no run.
        work_dir: with OpenCompass's predictions and results.

    Returns:
        The runs, and why data sets have no result.
    """
    results = {cfg["abbr"]: _result(model, cfg, work_dir) for cfg in datasets}
    failed = [f"{abbr}: {one['error']}" for abbr, one in results.items() if "error" in one]
    return _runs(model, datasets, results), failed


def _result(model: Mapping[str, Any], dataset: Mapping[str, Any], work_dir: str) -> dict[str, Any]:
    """Return what the evaluation wrote, or the reason why there is nothing."""
    for stage in ("predictions", "results"):
        file = Path(get_infer_output_path(model, dataset, str(Path(work_dir, stage))))
        parts = file.with_name(f"{file.stem}_0{file.suffix}")
        if not (file.is_file() or (stage == "predictions" and parts.is_file())):
            log = f"{work_dir}/logs/{'infer' if stage == 'predictions' else 'eval'}"
            return {"error": f"no {stage}: the reason is below {log}/{model['abbr']}"}
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if _is(dataset, "PaperDataset") and not {"details", "error"} & result.keys():
        return {"error": "without its items: leave out --dump-eval-details False"}
    return result


def _runs(
    model: Mapping[str, Any], datasets: list[Any], results: Mapping[str, dict[str, Any]]
) -> list[tuple[Run, Arrays]]:
    runs = []
    columns = {cfg["abbr"]: cfg for cfg in datasets if _is(cfg, "PaperDataset")}
    if columns:
        runs.append(_columns_run(model, columns, results))
    for cfg in datasets:
        if _is(cfg, "BooksDataset"):
            runs.append((_books_run(model, cfg, results[cfg["abbr"]]), {}))
    return runs


def _is(dataset: Mapping[str, Any], name: str) -> bool:
    return str(dataset["type"]) == f"rope_eval.hosts.opencompass.data.{name}"


# ---- columns of Tables 3 to 5 ------------------------------------------------------------------


def _columns_run(
    model: Mapping[str, Any], datasets: Mapping[str, Any], results: Mapping[str, dict[str, Any]]
) -> tuple[Run, Arrays]:
    tasks, arrays, reasons = {}, {}, []
    for abbr, cfg in datasets.items():
        result = results[abbr]
        if "error" in result:
            reasons.append(f"{abbr}: {result['error']}")
            tasks[abbr] = _stored(cfg, model) | {"metrics": {}, "n": None, "n_all": None}
            tasks[abbr]["metadata"]["missing"] = f"failed: {result['error']}"
            continue
        items = sorted(
            (item["item"][0], item["mark"][0], item["predicted"][0]) for item in result["details"]
        )
        names, marks, predicted = zip(*items, strict=True)
        data = result["data"][0]
        arrays[f"{abbr}/docs"] = np.array(names)
        arrays[f"{abbr}/acc,none"] = np.array(marks, dtype=np.float32)
        arrays[f"{abbr}/predicted"] = np.array(predicted)
        task = _stored(cfg, model)
        task["metadata"]["data_sha256"] = data["sha256"]
        tasks[abbr] = task | {
            "metrics": {"acc,none": sum(marks) / len(marks)},
            "n": len(marks),
            "n_all": data["rows"],
            "answers": histogram(predicted) if _task(cfg).strings.get("letters") else {},
            "samples": ["acc,none"],
        }
    failed = len(reasons) == len(tasks)
    content = hashlib.sha256(json.dumps([tasks, *map(str, arrays.values())]).encode()).hexdigest()
    request = _request("opencompass", model) | {"tasks": sorted(tasks), "content": content}
    run = Run(
        key=run_key(request),
        kind="opencompass",
        status="failed" if failed else "done",
        request=request,
        results={} if failed else {"row": None, "protocols": ["paper"], "tasks": tasks},
        provenance=_provenance(model),
        error="; ".join(reasons) if failed else None,
    )
    return run, {} if failed else arrays


def _stored(cfg: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    task = _task(cfg)
    limits = {"truncation": model.get("truncation"), "truncate_at": model.get("max_seq_len")}
    return {
        "protocol": task.protocol,
        "version": VERSION,
        "num_fewshot": task.strings.get("shots", 0),
        "hash": None,
        "metadata": {"version": VERSION}
        | task.record()
        | task.record_of_data(cfg["data_dir"])
        | (limits if task.strings.get("long") and limits["truncation"] else {}),
        "answers": {},
        "samples": [],
    }


def _task(cfg: Mapping[str, Any]) -> Task:
    return Task(protocol="paper", entry=cfg["entry"], subject=cfg["subject"])


# ---- books -------------------------------------------------------------------------------------


def _books_run(model: Mapping[str, Any], cfg: Mapping[str, Any], result: Mapping[str, Any]) -> Run:
    lengths = list(cfg["infer_cfg"]["inferencer"]["lengths"])
    books = result.get("books", [])
    request = _request("cumulative", model) | {
        "harness": "opencompass",
        "lengths": lengths,
        "documents": [{"name": book["name"], "sha256": book["sha256"]} for book in books],
        "books": cfg["books"],
    }
    error = result.get("error")
    totals = [[book["sums"][i] for book in books] for i in range(len(lengths))]
    return Run(
        key=run_key(request),
        kind="cumulative",
        status="failed" if error else "done",
        request=request,
        results={}
        if error
        else {
            "extrapolation_bound": None,
            "totals": [_total(sums) for sums in totals],
            "by_document": [book["sums"] for book in books],
        },
        provenance=_provenance(model),
        error=error,
    )


def _total(sums: list[dict[str, Any]]) -> dict[str, Any]:
    return total(Sums(**one) for one in sums).to_dict()


# ---- both --------------------------------------------------------------------------------------


def _request(kind: str, model: Mapping[str, Any]) -> dict[str, Any]:
    given = {k: v for k, v in model.items() if k in MODEL.arguments or k == "config"}
    own = {k: v for k, v in given.items() if k not in NOT_IN_KEY and v is not None}
    return identity.request(
        kind,
        model["path"],
        RopeSpec.from_dict({k: model[k] for k in FIELDS if k in model}),
        backend=model.get("backend", "hf"),
        dtype=model.get("dtype", "auto"),
        model_args={"pretrained": model["path"]} | json.loads(json.dumps(own, default=str)),
    )


def _provenance(model: Mapping[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    record = provenance()
    record["versions"]["opencompass"] = version("opencompass")
    proven = is_wanted(model.get("proof", True))
    record["proof"] = "by each process of inference, or it has failed" if proven else OFF
    return record
