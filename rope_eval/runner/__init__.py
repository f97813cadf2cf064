"""Measure, and keep what was measured: the same request made again is read, not recomputed.

What is kept is the document: each has a file of its own as soon as it is scored, so a run that is
killed goes on there, and one of fewer documents or lengths is summed without a model. PyTorch and
transformers are imported when something must be tokenised or scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rope_eval.errors import RopeEvalError, ScoreError, StoreError
from rope_eval.protocols.perplexity import CUMULATIVE, PerplexityProtocol
from rope_eval.results import identity
from rope_eval.results.documents import Documents, Scored
from rope_eval.results.provenance import of_this_machine, provenance, timed
from rope_eval.results.store import Run, Store
from rope_eval.runner.texts import CumulativeRequest, Texts
from rope_eval.runner.work import Claim, Opener, Progress, Work, check_effect
from rope_eval.safe_text import masked
from rope_eval.scores import Sums, total
from rope_eval.scoring.documents import document_scorer

if TYPE_CHECKING:
    from rope_eval.data.books import Document

__all__ = [
    "Answer",
    "CumulativeRequest",
    "LeftToOthersError",
    "NotKeptError",
    "Prospect",
    "answer",
    "curve",
    "measure",
    "prospect",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What `answer` found.

    Attributes:
        run: the run.
        scored: how many documents were scored for it now; none where all come from the store.
    """

    run: Run
    scored: int


class NotKeptError(StoreError):
    """A run that was measured, and could not be stored.

    Attributes:
        run: the run, to be shown before it is lost.
    """

    def __init__(self, run: Run, error: StoreError) -> None:
        super().__init__(f"the run was measured and is not kept: {error}")
        self.run = run


class LeftToOthersError(RopeEvalError):
    """A run whose last units other processes are at: ask again when they are done.

    Args:
        message: the error.
        computed: how many units were computed all the same.
    """

    def __init__(self, message: str, computed: int) -> None:
        super().__init__(message)
        self.computed = computed


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """What a request comes to, before anything is scored.

    Attributes:
        key: of the run.
        run: the run in the store, done or failed, or None.
        documents: the key of each document.
        stored: how many of them have their scores.
        passes: tokens of each text that is to go through the model.
        timed: of the stored documents of this machine the tokens of a pass, and the seconds.
    """

    key: str
    run: Run | None
    documents: tuple[str, ...]
    stored: int
    passes: tuple[int, ...]
    timed: tuple[tuple[int, float], ...]


def prospect(request: CumulativeRequest, store: Store) -> Prospect:
    """Say what a request comes to; the tokenizer is loaded where a length is not known yet.

    Raises:
        DataError: for a model or books that cannot be read.
        LengthError: where fewer documents than asked for are long enough.
        StoreError: for a damaged run or document.
    """
    texts = Texts(request, store)
    documents = texts.documents()
    kept = Documents(store, texts.setting(), request.protocol)
    keys = {d.digest: kept.key(d.digest) for d in documents}
    each = request.lengths if kept.each_length else request.lengths[-1:]
    texts_of = request.protocol.texts
    found = [one for digest in keys if (one := kept.found(digest, request.lengths)) is not None]
    here = [run for _, run in found if of_this_machine(run.provenance)]
    here = [run for run in here if run.provenance["ran"].get("share") != "tokens"]  # of several
    key = identity.run_key(_asked(request, texts.setting(), documents))
    return Prospect(
        key=key,
        run=store.get(key),
        documents=tuple(keys.values()),
        stored=len(found),
        passes=(len(keys) - len(found)) * texts_of(each),
        timed=tuple(
            (sum(texts_of(run.results["passes"])), run.provenance["duration_s"]) for run in here
        ),
    )


def measure(
    request: CumulativeRequest,
    store: Store,
    *,
    force: bool = False,
    progress: Progress = lambda what, part: None,
) -> Run:
    """Return the run of `answer`."""
    return answer(request, store, force=force, progress=progress).run


def answer(
    request: CumulativeRequest,
    store: Store,
    *,
    force: bool = False,
    strict: bool = False,
    retry: bool = True,
    progress: Progress = lambda what, part: None,
    opener: Opener | None = None,
    claim: Claim = lambda key: nullcontext(True),
) -> Answer:
    """Answer a request from the store, as far as it has the documents, and score the others.

    A document without a score that is a number has failed: the others stand, the run's totals are
    over them, and its ``results["failed"]`` names it and says why. It is tried again when the same
    is asked again, unless `retry` is off.

    Args:
        request: what is asked.
        store: where runs and documents are kept.
        force: score all documents, whatever is stored.
        strict: refuse a field that changes nothing at these lengths.
        retry: score again what has failed.
        progress: told the document at work, and the part of all work that is done.
        opener: in the place of `document_scorer`, where a model is loaded already.
        claim: asked before a document is scored, so that processes can share a store.

    Raises:
        DataError: for a model or books that cannot be read.
        LeftToOthersError: where other processes are scoring the documents that are missing.
        LengthError: where fewer documents than asked for are long enough.
        ScoreError: where every document failed; the run is stored as failed.
        StoreError: for a store that cannot be written, or a damaged run that `force` would replace.
        NotKeptError: where it could not be written after all; the error has the run.
        SpecError: where `strict` refuses.
        RopeEvalError: any other of its kinds, for what cannot be done.
    """
    texts = Texts(request, store, force=force)
    documents = texts.documents()
    setting = texts.setting()
    asked = _asked(request, setting, documents)
    key = identity.run_key(asked)
    old = None if force else store.get(key)
    if old is not None and old.status == "failed" and not retry:
        raise ScoreError(old.error)
    if old is not None and old.status == "done" and not (retry and old.results.get("failed")):
        check_effect(old.results, request.lengths[-1], strict, request.stated)
        return Answer(run=old, scored=0)

    work = Work(
        request=request,
        documents=Documents(store, setting, request.protocol),
        texts=texts,
        progress=progress,
        strict=strict,
        force=force,
        opener=opener or document_scorer,
        claim=claim,
    )
    found = {} if force else work.stored(documents)
    record = provenance() | {"row": request.row}
    missing = list({d.digest: d for d in documents if d.digest not in found}.values())
    failed: dict[str, str] = {}
    if missing:
        store.require_writable()
        with timed(record):
            for document, outcome in work.score(missing, record):
                (failed if isinstance(outcome, str) else found)[document.digest] = outcome
    if left := {d.digest for d in documents} - found.keys() - failed.keys():
        raise LeftToOthersError(
            f"other processes are scoring {len(left)} of the documents", work.scored
        )
    done = [found[d.digest] for d in documents if d.digest in found]
    if done:
        check_effect(done[0].facts, request.lengths[-1], strict, request.stated)
    error = next(iter(failed.values())) if not done else None
    run = Run(
        key=key,
        kind=asked["kind"],
        status="done" if done else "failed",
        request=asked,
        results=_results(documents, found, failed, work.documents) if done else {},
        provenance=record | {"ran": _distinct(scored.ran for scored in done)},
        error=error,
    )
    try:
        if work.not_kept is not None:
            raise work.not_kept
        run = store.put(run, replace=force or old is not None)
    except StoreError as not_kept:
        if error is None:
            raise NotKeptError(run, not_kept) from not_kept
        raise
    if error is not None:
        raise ScoreError(error)
    return Answer(run=run, scored=work.scored)


def curve(run: Run) -> dict[str, Any]:
    """Return a done run of `measure` as the facts that people and tables want."""
    totals = [Sums(**sums) for sums in run.results["totals"]]
    dtypes = [ran["dtype"] for ran in run.provenance["ran"]]
    failed = run.results["failed"]
    protocol = protocol_of(run)
    return {
        "model": run.request["model"],
        "rope": run.request["rope"],
        "books": run.request["books"],
        "protocol": protocol.label,
        "unit": "windows" if protocol.mean == "windows" else "tokens",
        "dtype": ", ".join(dict.fromkeys(dtypes)),
        "layers": run.provenance["ran"][0].get("layers"),
        "scaling": run.provenance["ran"][0].get("scaling"),
        "memory": run.provenance["ran"][0].get("memory"),
        "documents": len(run.results["by_document"]),
        "failed": [{"name": one["name"], "error": one["error"]} for one in failed],
        "tokens": totals[-1].tokens,
        "extrapolation_bound": run.results["extrapolation_bound"],
        "no_bound": run.results.get("no_bound", ""),
        "laws": run.results.get("laws", {}),
        "effective_from": run.results.get("effective_from", {}),
        "lengths": run.request["lengths"],
        "perplexity": [sums.perplexity for sums in totals],
        "accuracy": [sums.accuracy for sums in totals],
        "key": run.key,
    }


def protocol_of(run: Run) -> PerplexityProtocol:
    """Return the protocol of a run of books."""
    return PerplexityProtocol.from_dict(run.request.get("perplexity_protocol", {}))


def _asked(
    request: CumulativeRequest, setting: Mapping[str, Any], documents: Sequence[Document]
) -> dict[str, Any]:
    """Return the request of the run."""
    protocol = request.protocol
    which: dict[str, Any] = {"kind": "cumulative"}
    if protocol != CUMULATIVE:
        which = {"kind": "perplexity", "perplexity_protocol": protocol.to_dict()}
    return {
        **setting,
        **which,
        "lengths": list(request.lengths),
        "documents": [{"name": d.name, "sha256": d.digest} for d in documents],
        "books": masked(request.books),
    }


def _results(
    documents: Sequence[Document],
    found: Mapping[str, Scored],
    failed: Mapping[str, str],
    kept: Documents,
) -> dict[str, Any]:
    """Return the sums of the documents that are done, and what failed."""
    done = [d for d in documents if d.digest in found]
    rows = [found[d.digest].sums for d in done]
    return {
        **found[done[0].digest].facts,
        "totals": [total(sums).to_dict() for sums in zip(*rows, strict=True)],
        "by_document": [[sums.to_dict() for sums in row] for row in rows],
        "documents": [kept.key(d.digest) for d in done],
        "failed": [
            {"name": d.name, "sha256": d.digest, "error": failed[d.digest]}
            for d in documents
            if d.digest in failed
        ],
    }


def _distinct(some: Iterator[Mapping[str, Any]]) -> list[dict[str, Any]]:
    distinct: list[dict[str, Any]] = []
    for one in map(dict, some):
        if one not in distinct:
            distinct.append(one)
    return distinct
