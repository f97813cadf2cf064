"""Scores that are made of sums over documents or items, from the frame back to their sums."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rope_eval.results.conditions import recorded
from rope_eval.results.documents import of_known_shape
from rope_eval.results.metrics import plain
from rope_eval.results.samples import scores_of
from rope_eval.results.store import Store
from rope_eval.results.tidy import HARNESSES

_Sums: TypeAlias = tuple[float, float, float]  # nats, hits, tokens
_DOCUMENTS = re.compile(r" \([0-9]+( of [0-9]+)? documents?, [0-9a-f]{6}\)$")  # in the frame's task


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """A score that is made of sums over documents, or over a task's items: perplexity, nll.

    Attributes:
        metric: its name.
        conditions: as of a `Part`.
        sums: nats, hits and tokens of each document by what tells it from others, or of each item
            by its name; empty where they were not kept.
    """

    metric: str
    conditions: Mapping[str, str] = field(default_factory=dict)
    sums: Callable[[], dict[str, _Sums]] = dict


def column_of(line: Mapping[str, Any]) -> str:
    """Return what a score of the frame is called beside others: its task and metric."""
    return f"{line['task']} {line['metric'].removesuffix(',none')}"


def is_pooled(line: Mapping[str, Any]) -> bool:
    """Return whether a score is made of sums: those of whole books, and what has a length."""
    name = plain(line["metric"] or "")
    of_tokens = name == "accuracy" and line["measurement"] == "perplexity"
    return line["length"] is not None and (of_tokens or name in ("perplexity", "nll"))


def pooled_of(lines: Iterable[Mapping[str, Any]], store: Store) -> dict[str, Pooled]:
    """Return the newest scores that are made of sums, by books or task and metric.

    Args:
        lines: of the frame, of one model and setting.
        store: where their runs are.
    """
    found = {}
    for line in lines:
        if not is_pooled(line) or line["value"] is None:
            continue
        if line["kind"] in HARNESSES:
            column, read = column_of(line), _sums_of_items
        else:
            books = _DOCUMENTS.sub("", line["task"])
            column, read = f"{books} {line['metric']}@{line['length']}", _sums_of_documents
        found[column] = Pooled(
            metric=line["metric"],
            conditions=recorded(line),
            sums=functools.partial(read, store, line),
        )
    return found


def _sums_of_items(store: Store, line: Mapping[str, Any]) -> dict[str, _Sums]:
    found = scores_of(store.arrays(line["key"]), line["task"], line["metric"])
    return {item: (sums[0], sums[1], sums[2]) for item, sums in found.items() if sums.ndim}


def _sums_of_documents(store: Store, line: Mapping[str, Any]) -> dict[str, _Sums]:
    run = store.get(line["key"])
    if run is None:
        return {}
    with of_known_shape(run):
        lost = {one["sha256"] for one in run.results.get("failed", [])}
        kept = [one["sha256"] for one in run.request["documents"] if one["sha256"] not in lost]
        at = run.request["lengths"].index(line["length"])
        by_document = [sums[at] for sums in run.results.get("by_document", [])]
        return {
            sha256: (float(one["nll"]), float(one["hits"]), float(one["tokens"]))
            for sha256, one in zip(kept, by_document, strict=bool(by_document))
        }
