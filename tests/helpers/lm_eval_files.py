"""Writes what `lm_eval --output_path --log_samples` writes, with scores of the test's choice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(
    folder: Path,
    tasks: Mapping[str, Sequence[float] | tuple[float | None, int]],
    *,
    stamp: str = "2026-01-02T03-04-05.678901",
    date: float = 1000.0,
    model_args: Any = "pretrained=me/model",
    rope: Mapping[str, Any] | None = None,
    metrics: Mapping[str, str] | None = None,
    n_all: int | None = None,
    answers: Mapping[str, Mapping[str, int]] | None = None,
    name: str = "results",
    old: bool = False,
) -> Path:
    """Write a results file; a task's scores are a list of items', with samples, or (mean, n).

    Old samples are those of lm-eval 0.4.6, and a name other than results that of a file that was
    given as --output_path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"a_group": {"alias": "a_group", "acc,none": 0.123}}
    counts = {}
    for task, given in tasks.items():
        key = (metrics or {}).get(task, "acc,none")
        metric, kind = key.split(",")
        if isinstance(given, tuple):
            value, n = given
        else:
            value, n = sum(given) / len(given), len(given)
            lines = [
                {
                    "doc_id": i,
                    "doc": {"question": f"{i}\u2028{i}"},
                    "doc_hash": f"{i:064x}",
                    metric: score,
                }
                | ({} if old else {"filter": kind, "metrics": [metric]})
                for i, score in enumerate(given)
            ]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / f"samples_{task}_{stamp}.jsonl").write_text(text, encoding="utf-8")
        results[task] = {"alias": task, key: value, f"{metric}_stderr,{kind}": "N/A"}
        if answers and task in answers:
            results[task][f"answers,{kind}"] = answers[task]
        counts[task] = {"original": n_all or n, "effective": n}
    record = {
        "results": results,
        "configs": {task: {"task": task, "metadata": {"version": 1}} for task in tasks},
        "versions": dict.fromkeys(tasks, 1),
        "n-shot": dict.fromkeys(tasks, 0),
        "n-samples": counts,
        "config": {"model": "hf", "model_args": model_args} | ({"rope": rope} if rope else {}),
        "git_hash": "abc",
        "date": date,
        "lm_eval_version": "0.4.13",
        "transformers_version": "5.23.0",
        "task_hashes": {},
        "total_evaluation_time_seconds": "1.5",
    }
    file = folder / f"{name}_{stamp}.json"
    file.write_text(json.dumps(record))
    return file
