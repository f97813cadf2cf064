"""Runs of whole books with given sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rope_eval.results import identity
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import Sums, total


def put_sums(
    store: Store, model: str, documents: Mapping[str, Sequence[Sums]], **changes: Any
) -> None:
    """Store whole books: the sums of each document, one a length.

    Args:
        changes: of what is asked.
    """
    lengths = [one.tokens + 1 for one in next(iter(documents.values()))]
    asked = identity.request(
        "cumulative",
        model,
        RopeSpec(),
        backend="hf",
        **{"dtype": "float32", "lengths": lengths, "books": "mine"} | changes,
        documents=[{"name": name, "sha256": name} for name in documents],
    )
    results = {
        "totals": [total(sums).to_dict() for sums in zip(*documents.values(), strict=True)],
        "by_document": [[one.to_dict() for one in sums] for sums in documents.values()],
    }
    run = Run(
        key=identity.run_key(asked),
        kind="cumulative",
        status="done",
        request=asked,
        results=results,
        provenance={},
    )
    store.put(run)
