"""Measure, and keep what was measured: the same request made again is read, not recomputed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from rope_eval.backends.hf.loading import check_checkpoint, load_tokenizer
from rope_eval.errors import ScoreError, StoreError
from rope_eval.results import identity
from rope_eval.results.provenance import provenance, timed
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scores import Sums, sums_at, total
from rope_eval.scoring.books import long_enough
from rope_eval.scoring.documents import DocumentScorer, Loading, document_scorer

if TYPE_CHECKING:
    import numpy.typing as npt

    from rope_eval.data.books import Document

Progress = Callable[[str, float], None]  # what is being done, and the part of it that is


@dataclass(frozen=True, kw_only=True, slots=True)
class CumulativeRequest:
    """The cumulative perplexity of a model under a spec, on books, at lengths.

    Attributes:
        model: a directory or a name on the hub.
        rope: the RoPE setting.
        books: a source of `rope_eval.data.books.read_books`.
        lengths: tokens seen, BOS included, increasing.
        documents: how many documents to score, the first that are long enough; None for all.
        loading: the backend, and how the model is loaded into it.
        row: the row of the catalogue that was asked for, if one was.
    """

    model: str
    rope: RopeSpec
    books: str
    lengths: tuple[int, ...]
    documents: int | None = None
    loading: Loading = field(default_factory=Loading)
    row: str | None = None


class NotKeptError(StoreError):
    """A run that was measured, and could not be stored.

    Attributes:
        run: the run, to be shown before it is lost.
    """

    def __init__(self, run: Run, error: StoreError) -> None:
        super().__init__(f"the run was measured and is not kept: {error}")
        self.run = run


def measure(
    request: CumulativeRequest,
    store: Store,
    *,
    force: bool = False,
    progress: Progress = lambda what, part: None,
) -> Run:
    """Answer a request from the store, or by scoring the documents; a failed run is stored too.

    Raises:
        DataError: for a model or books that cannot be read.
        LengthError: where fewer documents than asked for are long enough.
        ScoreError: for a score that is not a number.
        StoreError: for a store that cannot be written, or a damaged run that `force` would replace.
        NotKeptError: where it could not be written after all; the error has the run.
        RopeEvalError: any other of its kinds, for what cannot be done.
    """
    loading = request.loading
    check_checkpoint(
        request.model,
        trust_remote_code=loading.trust_remote_code,
        allow_pickle=loading.allow_pickle,
    )
    tokenizer = load_tokenizer(request.model, trust_remote_code=loading.trust_remote_code)
    documents = long_enough(request.books, request.lengths[-1], tokenizer, request.documents)
    asked = identity.request(
        "cumulative",
        request.model,
        request.rope,
        backend=loading.backend,
        dtype=loading.dtype,
        lengths=list(request.lengths),
        documents=[{"name": d.name, "sha256": d.digest} for d, _ in documents],
        books=request.books,
    )
    key = identity.run_key(asked)
    kept = None if force else store.get(key)
    if kept is not None and kept.status == "done":
        return kept
    store.require_writable()

    results: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    error: ScoreError | None = None
    with document_scorer(request.model, request.rope, request.lengths[-1], loading) as scorer:
        record = provenance(gpu=scorer.gpu) | {"row": request.row}
        with timed(record):
            try:
                results, arrays = _score(scorer, documents, request, progress)
            except ScoreError as failed:
                error = failed
    run = Run(
        key=key,
        kind="cumulative",
        status="failed" if error else "done",
        request=asked,
        results=results,
        provenance=record,
        error=str(error) if error else None,
    )
    try:
        run = store.put(run, arrays, replace=force or kept is not None)
    except StoreError as not_kept:
        if error is None:
            raise NotKeptError(run, not_kept) from not_kept
        raise
    if error is not None:
        raise error
    return run


def curve(run: Run) -> dict[str, Any]:
    """Return a done run of `measure` as the facts that people and tables want."""
    totals = [Sums(**sums) for sums in run.results["totals"]]
    return {
        "model": run.request["model"],
        "rope": run.request["rope"],
        "books": run.request["books"],
        "dtype": run.request["dtype"],
        "documents": len(run.request["documents"]),
        "tokens": totals[-1].tokens,
        "extrapolation_bound": run.results["extrapolation_bound"],
        "no_bound": run.results.get("no_bound", ""),
        "laws": run.results.get("laws", {}),
        "lengths": run.request["lengths"],
        "perplexity": [sums.perplexity for sums in totals],
        "accuracy": [sums.accuracy for sums in totals],
        "key": run.key,
    }


def _score(
    scorer: DocumentScorer,
    documents: list[tuple[Document, torch.Tensor]],
    request: CumulativeRequest,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the results and the token scores of all documents."""
    by_document: list[list[Sums]] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, (document, ids) in enumerate(documents):

        def report(part: float, i: int = i, name: str = document.name) -> None:
            progress(name, (i + part) / len(documents))

        try:
            scored = scorer.score(ids, request.lengths, report)
        except ScoreError as error:
            raise ScoreError(f"{document.name}: {error}") from error
        by_document.append([sums_at(scored[n], n) for n in request.lengths])
        # one array serves every length, except where each length is a pass of its own
        per_length = request.rope.base_changes == "per_sequence"
        for n in request.lengths if per_length else request.lengths[-1:]:
            arrays[f"nll_{i}_{n}"] = scored[n].nll
            arrays[f"hit_{i}_{n}"] = scored[n].hit
    bound, no_bound = scorer.rotary.bound
    results = {
        "extrapolation_bound": bound,
        "no_bound": no_bound,
        "laws": scorer.rotary.laws.to_dict(),
        "totals": [total(sums).to_dict() for sums in zip(*by_document, strict=True)],
        "by_document": [[sums.to_dict() for sums in row] for row in by_document],
    }
    return results, arrays
