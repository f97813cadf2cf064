"""Runs as logs of Inspect (inspect.aisi.org.uk), one a task, for its viewer to open our samples.

An item of lm-eval has its prompt, choices, target and answer where its samples held them; one of
OpenCompass has what was read of its answer, and its text stays in the host's own files. A
continuation has its texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError
from rope_eval.results.item_texts import texts_of
from rope_eval.results.metrics import NOT_RUN, is_of_ruler, plain
from rope_eval.results.naming import Names, setting_text
from rope_eval.results.samples import scores_of
from rope_eval.results.store import Run, Store
from rope_eval.results.tidy import HARNESSES

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

CONTINUATION = "continuation"
NOT_KEPT = "(the item's text is in the host's own files)"
_FILE = re.compile(r"[^A-Za-z0-9.-]+")


def export_inspect(store: Store, folder: Path) -> list[Path]:
    """Write a ``.eval`` log for each task of a run that has samples, and return the files.

    Args:
        store: the runs.
        folder: where; files of the same runs are replaced.

    Raises:
        DataError: inspect_ai is not installed, no run has samples, or a file cannot be written.
        StoreError: the store cannot be read.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise DataError(
            "logs of Inspect need its package: pip install 'rope-eval[inspect]'"
        ) from None
    written = []
    for name, log in _logs(store):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_eval_log(log, str(folder / f"{name}.eval"), format="eval")
        except OSError as error:
            raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
        written.append(folder / f"{name}.eval")
    if not written:
        raise DataError(
            f"no run in {store.root} has samples: run tasks or `generation` in a plan, or bring "
            "results with --log_samples in with `rope-eval import`"
        )
    return written


def _logs(store: Store) -> Iterator[tuple[str, EvalLog]]:
    """Yield the name of the file, as Inspect names its own (time, task, id), and the log."""
    names = Names()
    for run in store.runs():
        if run.status != "done" or run.kind not in (*HARNESSES, CONTINUATION):
            continue
        started = str(run.provenance.get("started") or "unknown")
        for task, samples, scores in _tasks(store, run):
            if samples:
                name = "_".join((_FILE.sub("-", started), _FILE.sub("-", task), run.key))
                yield name, _log(run, names.row(run), task, samples, scores)


def _tasks(
    store: Store, run: Run
) -> Iterator[tuple[str, list[EvalSample], Mapping[str, float | None]]]:
    """Yield each task of a run with its samples and its scores by metric."""
    if run.kind == CONTINUATION:
        yield CONTINUATION, [_continued(n, one) for n, one in enumerate(run.results["samples"])], {}
        return
    arrays = store.arrays(run.key)
    for task, record in run.results["tasks"].items():
        items = {metric: scores_of(arrays, task, metric) for metric in record["metrics"]}
        scores = {name: of for name, of in items.items() if of}
        texts = texts_of(arrays, task) or _predicted(arrays, task)
        yield task, _scored(scores, texts), record["metrics"]


def _predicted(arrays: Mapping[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """Return what OpenCompass read of the items' answers, by their names."""
    names, answers = (arrays.get(f"{task}/{name}", ()) for name in ("docs", "predicted"))
    return {
        str(name): {"input": NOT_KEPT, "target": "", "answer": str(answer)}
        for name, answer in zip(names, answers, strict=False)
    }


def _continued(place: int, one: Mapping[str, Any]) -> EvalSample:
    from inspect_ai.log import EvalSample

    text = {"input": one["prompt"], "target": one["reference"], "answer": one["text"]}
    return EvalSample(
        id=place + 1,
        epoch=1,
        metadata={name: one[name] for name in ("document", "context_tokens")},
        **_words(text),
    )


def _scored(
    scores: Mapping[str, Mapping[str, Any]], texts: Mapping[str, Mapping[str, Any]]
) -> list[EvalSample]:
    """Return a sample an item, with each of its scores; sums are nats, hits and tokens."""
    from inspect_ai.log import EvalSample
    from inspect_ai.scorer import Score

    items = dict.fromkeys(item for of_metric in scores.values() for item in of_metric)
    return [
        EvalSample(
            id=str(item),
            epoch=1,
            scores={
                metric: Score(value=_value(of_metric[item]))
                for metric, of_metric in scores.items()
                if item in of_metric
            },
            **_words(texts.get(str(item))),
        )
        for item in items
    ]


def _words(text: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a sample that its item's words fill."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput

    text = text or {"input": NOT_KEPT, "target": ""}
    words: dict[str, Any] = {"input": text["input"], "target": text["target"]}
    if "choices" in text:
        words["choices"] = text["choices"]
    if "answer" in text:
        words["output"] = ModelOutput.from_content("", text["answer"])
        words["messages"] = [
            ChatMessageUser(content=text["input"]),
            ChatMessageAssistant(content=text["answer"]),
        ]
    return words


def _value(score: Any) -> Any:
    if score.ndim:
        return dict(zip(("nll", "hits", "tokens"), score.tolist(), strict=True))
    return float(score)


def _log(
    run: Run,
    row: str,
    task: str,
    samples: list[EvalSample],
    scores: Mapping[str, float | None],
) -> EvalLog:
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalMetric,
        EvalResults,
        EvalScore,
        EvalSpec,
        EvalStats,
    )

    record = run.provenance
    started = str(record.get("started") or "")
    values = {
        metric: value
        for metric, value in scores.items()
        if value is not None and not (is_of_ruler(metric) and value == NOT_RUN)
    }
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=run.key,
            run_id=run.key,
            created=started or "1970-01-01T00:00:00+00:00",
            task=task,
            task_id=f"{run.key}-{task}",
            dataset=EvalDataset(
                name=task, samples=len(samples), sample_ids=[one.id for one in samples]
            ),
            model=row,
            model_args={"rope": run.request.get("rope", {})},
            config=EvalConfig(),
            packages={
                name: str(version)
                for name, version in (record.get("versions") or {}).items()
                if version
            },
            metadata={
                "key": run.key,
                "setting": setting_text(run),
                "proof": record.get("proof"),
                "git_commit": record.get("git_commit"),
            },
        ),
        results=EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[
                EvalScore(
                    name=metric,
                    scorer=metric,
                    metrics={plain(metric): EvalMetric(name=plain(metric), value=value)},
                )
                for metric, value in values.items()
            ],
        ),
        stats=EvalStats(started_at=started, completed_at=_ended(record)),
        samples=samples,
    )


def _ended(record: Mapping[str, Any]) -> str:
    """Return when a run had ended, by its start and its seconds; empty where they are not known."""
    try:
        seconds = timedelta(seconds=record["duration_s"])
        return (datetime.fromisoformat(record["started"]) + seconds).isoformat()
    except (LookupError, TypeError, ValueError):
        return ""
