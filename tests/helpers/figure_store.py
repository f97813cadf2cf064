"""Stores whose figures are known: whole books with their documents, retrieval, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rope_eval.results import identity
from rope_eval.results.documents import Documents
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import TokenScores, sums_at, total

LENGTHS = (64, 128, 256, 512, 1024)
TRAIN = 128


def laws(tune: int | None = None, *, pretrain: float = 1e4) -> dict[str, dict[str, Any]]:
    return {
        "pretrain_theta": {"value": pretrain, "source": "the config's own base"},
        "train_length": {"value": TRAIN, "source": "the config's max_position_embeddings"},
        "tune_length": {"value": tune, "source": "given"},
    }


def put_books(
    store: Store,
    model: str = "me/model",
    *,
    losses: Sequence[tuple[int, float]] = ((0, 1.0),),
    documents: int = 2,
    bound: float | None = 300.0,
    tune: int | None = None,
    started: str = "2026-01-01",
    fingerprint: str | None = None,
    lengths: Sequence[int] = LENGTHS,
    dtype: str = "float32",
    row: str | None = None,
    **rope: Any,
) -> str:
    """Store a run of whole books; a token at t costs the loss of the last (from, nats) up to t."""
    spec = RopeSpec(**rope)
    asked = identity.request("document", model, spec, backend="hf", dtype=dtype, protocol=1)
    if fingerprint is not None:
        asked["fingerprint"] = fingerprint
    nll = np.zeros(lengths[-1] - 1, dtype=np.float32)
    for begin, nats in losses:
        nll[max(begin - 1, 0) :] = nats
    digests = [f"{n:064x}" for n in range(documents)]
    facts = {"extrapolation_bound": bound, "laws": laws(tune), "effective_from": {}}
    kept = Documents(store, asked)
    scores = TokenScores(nll=nll, hit=nll < 1.5)
    passes = dict.fromkeys(lengths, scores)
    for digest in digests:
        kept.keep(digest, passes, facts, {"ran": {"dtype": dtype}})
    at = [sums_at(scores, length) for length in lengths]
    request = asked | {
        "kind": "cumulative",
        "lengths": list(lengths),
        "documents": [{"name": d[-1], "sha256": d} for d in digests],
        "books": "builtin",
    }
    results = facts | {
        "totals": [total([sums] * documents).to_dict() for sums in at],
        "by_document": [[sums.to_dict() for sums in at]] * documents,
        "documents": [kept.key(digest) for digest in digests],
        "failed": [],
    }
    return _put(
        store,
        "cumulative",
        request,
        results,
        {"started": started, "row": row, "ran": [{"dtype": dtype}]},
    )


def put_in_windows(
    store: Store,
    model: str = "me/model",
    *,
    losses: Sequence[tuple[int, float]] = ((0, 1.0),),
    documents: int = 2,
    window: int = TRAIN,
    length: int = LENGTHS[-1],
    row: str | None = None,
    **rope: Any,
) -> str:
    """Store what the tokens of `put_books` cost in windows, as a plan's `in_window` does."""
    request = identity.request(
        "in_window", model, RopeSpec(**rope), backend="hf", dtype="float32", protocol=1
    ) | {
        "length": length,
        "window": window,
        "books": "builtin",
        "documents": [{"name": str(n), "sha256": f"{n:064x}"} for n in range(documents)],
    }
    nll = np.zeros((documents, length - 1), dtype=np.float32)
    for begin, nats in losses:
        nll[:, max(begin - 1, 0) :] = nats
    return _put(
        store, "in_window", request, {}, {"started": "2026-01-01", "row": row}, {"nll": nll}
    )


def put_task(
    store: Store,
    model: str = "me/model",
    task: str = "retrieval",
    *,
    metrics: Mapping[str, float | None],
    metadata: Mapping[str, Any] | None = None,
    started: str = "2026-01-01",
    fingerprint: str | None = None,
    row: str | None = None,
    **rope: Any,
) -> str:
    """Store a run of one task, as a plan or an import does."""
    request = identity.request(
        "lm_eval", model, RopeSpec(**rope), backend="hf", dtype="float32", tasks=[task]
    ) | {"stamp": started}
    if fingerprint is not None:
        request["fingerprint"] = fingerprint
    record = {
        "protocol": "lm_eval",
        "metrics": dict(metrics),
        "n": 10,
        "n_all": 10,
        "version": "1",
        "num_fewshot": "0",
        "hash": None,
        "metadata": dict(metadata or {}),
        "answers": {},
        "samples": [],
    }
    return _put(
        store, "lm_eval", request, {"tasks": {task: record}}, {"started": started, "row": row}
    )


def put_attention(
    store: Store,
    model: str = "me/model",
    *,
    length: int = 64,
    row: str | None = None,
    **rope: Any,
) -> str:
    """Store a profile of three bins."""
    request = identity.request(
        "attention", model, RopeSpec(**rope), backend="hf", dtype="float32", books="builtin"
    ) | {"length": length}
    bins = [
        {
            "from": a,
            "to": b,
            "count": 9,
            "before": {"mean": 1.0 + a, "std": 0.25},
            "beyond": {"mean": -2.0, "std": 0.5},
        }
        for a, b in ((0, 0), (1, 3), (4, length - 2))
    ]
    results = {
        "length": length,
        "train_length": TRAIN,
        "extrapolation_bound": 300.0,
        "laws": laws(),
        "critical_dimension": 22,
        "rotary_dim": 64,
        "bins": bins,
        "layers": [],
    }
    return _put(store, "attention", request, results, {"started": "2026-01-01", "row": row})


def _put(
    store: Store,
    kind: str,
    request: Mapping[str, Any],
    results: Mapping[str, Any],
    provenance: Mapping[str, Any],
    arrays: Mapping[str, Any] | None = None,
) -> str:
    run = Run(
        key=identity.run_key(request),
        kind=kind,
        status="done",
        request=dict(request),
        results=dict(results),
        provenance=dict(provenance),
    )
    return store.put(run, arrays or {}).key


def perplexity(losses: Sequence[tuple[int, float]], length: int) -> float:
    """Return what `put_books` makes of these losses at a length."""
    nll = np.zeros(length - 1)
    for begin, nats in losses:
        nll[max(begin - 1, 0) :] = nats
    return math.exp(float(nll.mean()))
