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
    words: Mapping[str, Any] | None = None,
    cut_prompts: Mapping[str, Mapping[str, int]] | None = None,
) -> Path:
    """Write a results file; a task's scores are a list of items', with samples, or (mean, n).

    Each sample holds the words too: arguments, resps, target.

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
                | dict(words or {})
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
        "config": {"model": "hf", "model_args": model_args}
        | ({"rope": rope} if rope else {})
        | ({"cut_prompts": cut_prompts} if cut_prompts else {}),
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


def write_items(
    folder: Path,
    task: str,
    scores: Mapping[str, float | None],
    items: Sequence[Mapping[str, Any]],
    *,
    docs: Sequence[Mapping[str, Any]] = (),
    higher_is_better: Mapping[str, bool] | None = None,
    n_all: int | None = None,
    **given: Any,
) -> Path:
    """Write a task of which each item says its own metrics.

    Args:
        folder: to write to.
        task: its name.
        scores: of the task by metric, such as ``{"512": 1.0}``; the filter is none.
        items: of each the scores by metric.
        docs: of each the document; by default empty.
        higher_is_better: as lm-eval says it.
        n_all: how many items there are.
        **given: of `write`.
    """
    file = write(folder, {task: (0.0, len(items))}, n_all=n_all, **given)
    record = json.loads(file.read_text())
    record["results"][task] = {"alias": task} | {f"{m},none": s for m, s in scores.items()}
    record["higher_is_better"] = {task: higher_is_better or {}}
    file.write_text(json.dumps(record))
    lines = (
        {
            "doc_id": i,
            "doc": docs[i] if docs else {},
            "doc_hash": f"{i:064x}",
            "filter": "none",
            "metrics": list(item),
            **item,
        }
        for i, item in enumerate(items)
    )
    ending = file.stem.removeprefix("results_")
    (folder / f"samples_{task}_{ending}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return file
