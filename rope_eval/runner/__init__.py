"""Measure, and keep what was measured: the same request made again is read, not recomputed.

What is kept is the document: each has a file of its own as soon as it is scored, so a run that is
killed goes on there, and one of fewer documents or lengths is summed without a model. PyTorch and
transformers are imported when something must be tokenised or scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, RopeEvalError, ScoreError, SpecError, StoreError
from rope_eval.results import identity
from rope_eval.results.documents import (
    Documents,
    Scored,
    TokenCount,
    TokenCounts,
)
from rope_eval.results.provenance import of_this_machine, provenance, timed
from rope_eval.results.resolved import AUTO, resolved_dtype, resolved_laws
from rope_eval.results.store import Run, Store
from rope_eval.rope.reach import without_effect
from rope_eval.rope.spec import RopeSpec
from rope_eval.safe_text import masked
from rope_eval.scores import Sums, sums_at, total
from rope_eval.scoring.books import first_documents
from rope_eval.scoring.documents import DocumentScorer, Loading, document_scorer

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.data.books import Document

PROTOCOL = 1  # of whole documents; another way to score or to count is another number
Progress = Callable[[str, float], None]  # what is being done, and the part of it that is
Opener = Callable[[str, RopeSpec, int, Loading], AbstractContextManager[DocumentScorer]]
Claim = Callable[[str], AbstractContextManager[bool]]
"""Takes a document's key before it is scored; False within where another process is at it."""


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
        run: the run in the store, done or failed, or None.
        documents: the key of each document.
        stored: how many of them have their scores.
        passes: tokens of each text that is to go through the model.
        timed: of the stored documents of this machine the tokens of a pass, and the seconds.
    """

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
    kept = Documents(store, texts.setting())
    keys = {d.digest: kept.key(d.digest) for d in documents}
    found = [keys[d] for d in keys if kept.read(d, request.lengths) is not None]
    each = request.lengths if kept.each_length else request.lengths[-1:]
    runs = [kept.store.get(key) for key in found]
    here = [run for run in runs if run is not None and of_this_machine(run.provenance)]
    return Prospect(
        run=store.get(identity.run_key(_asked(request, texts.setting(), documents))),
        documents=tuple(keys.values()),
        stored=len(found),
        passes=(len(keys) - len(found)) * each,
        timed=tuple((sum(run.results["passes"]), run.provenance["duration_s"]) for run in here),
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
        check_effect(old.results, request.lengths[-1], strict)
        return Answer(run=old, scored=0)

    work = _Work(
        request=request,
        documents=Documents(store, setting),
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
        check_effect(done[0].facts, request.lengths[-1], strict)
    error = next(iter(failed.values())) if not done else None
    run = Run(
        key=key,
        kind="cumulative",
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
    return {
        "model": run.request["model"],
        "rope": run.request["rope"],
        "books": run.request["books"],
        "dtype": ", ".join(dict.fromkeys(dtypes)),
        "layers": run.provenance["ran"][0].get("layers"),
        "scaling": run.provenance["ran"][0].get("scaling"),
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


def _asked(
    request: CumulativeRequest, setting: Mapping[str, Any], documents: Sequence[Document]
) -> dict[str, Any]:
    """Return the request of the run."""
    return {
        **setting,
        "kind": "cumulative",
        "lengths": list(request.lengths),
        "documents": [{"name": d.name, "sha256": d.digest} for d in documents],
        "books": masked(request.books),
    }


def _setting(request: CumulativeRequest) -> dict[str, Any]:
    """Return all of a request that determines the scores of a document."""
    loading = request.loading
    dtype = resolved_dtype(request.model, loading.dtype, loading.backend)
    return identity.request(
        "document",
        request.model,
        request.rope,
        backend=loading.backend,
        dtype=dtype,
        protocol=PROTOCOL,
        laws=resolved_laws(request.model, request.rope),
        **loading.changing(dtype),
    )


class Texts:
    """The documents of a request and their tokens.

    The tokenizer is loaded when a count is not known yet.

    Args:
        request: of its lengths the longest counts.
        store: which knows counts.
        force: count anew.
    """

    def __init__(self, request: CumulativeRequest, store: Store, *, force: bool = False) -> None:
        self.request = request
        self.store = store
        self._setting = _setting(request)
        self._counts = TokenCounts(store, self._setting, forget=force)
        self._tokenizer: Any = None
        self._ids: dict[str, Tensor] = {}

    def documents(self) -> list[Document]:
        """Return the first documents that are long enough.

        Raises:
            DataError: for a model or books that cannot be read.
            LengthError: where there are fewer than asked for, or none.
        """
        request = self.request
        return first_documents(request.books, request.lengths[-1], self.count, request.documents)

    def count(self, document: Document) -> int:
        """Return how many tokens a document has, counted as far as the longest length."""
        known = self._counts.known
        kept = known.get(document.digest)
        if kept is None or not (kept.whole or kept.tokens >= self.request.lengths[-1]):
            known[document.digest] = self._tokenise(document)
        return known[document.digest].tokens

    def ids(self, document: Document) -> Tensor:
        """Return its tokens up to the longest length."""
        if document.digest not in self._ids:
            self._tokenise(document)
        return self._ids.pop(document.digest)

    def setting(self) -> dict[str, Any]:
        """Return the request's setting; what loading the tokenizer brought of the hub counts."""
        if self._tokenizer is not None and "commit" in self._setting:
            known = self._counts.known
            self._setting = _setting(self.request)
            self._counts = TokenCounts(self.store, self._setting)
            self._counts.known.update(known)
        return self._setting

    def keep_counts(self, record: Mapping[str, Any]) -> None:
        """Store the counts that are new."""
        self._counts.keep(record)

    def _tokenise(self, document: Document) -> TokenCount:
        from rope_eval.backends.hf.encoding import first_tokens
        from rope_eval.backends.hf.loading import check_checkpoint, load_tokenizer

        loading = self.request.loading
        if self._tokenizer is None:
            check_checkpoint(
                self.request.model,
                trust_remote_code=loading.trust_remote_code,
                allow_pickle=loading.allow_pickle,
            )
            self._tokenizer = load_tokenizer(
                self.request.model, trust_remote_code=loading.trust_remote_code
            )
        longest = self.request.lengths[-1]
        ids = first_tokens(self._tokenizer, document.text, longest)
        if len(ids) == longest:
            self._ids[document.digest] = ids
        return TokenCount(tokens=len(ids), whole=len(ids) < longest)


@dataclass(kw_only=True)
class _Work:
    """Scores the documents of a request one after another, and keeps each at once."""

    request: CumulativeRequest
    documents: Documents
    texts: Texts
    progress: Progress
    strict: bool
    force: bool
    opener: Opener
    claim: Claim
    scored: int = 0
    not_kept: StoreError | None = None

    def stored(self, documents: Sequence[Document]) -> dict[str, Scored]:
        """Return what the store has of them, by their digests."""
        lengths = self.request.lengths
        read = {d.digest: self.documents.read(d.digest, lengths) for d in documents}
        return {digest: scored for digest, scored in read.items() if scored is not None}

    def score(
        self, documents: Sequence[Document], record: dict[str, Any]
    ) -> Iterator[tuple[Document, Any]]:
        """Yield each document with its `Scored`, or why it failed."""
        request = self.request
        with self.opener(
            request.model, request.rope, request.lengths[-1], request.loading
        ) as scorer:
            self._check_ran(scorer)
            check_effect(_facts(scorer), request.lengths[-1], self.strict)
            record["machine"]["gpu"] = scorer.gpu
            record["proof"] = scorer.proof
            self._try_to(lambda: self.texts.keep_counts(record))
            for i, document in enumerate(documents):

                def report(part: float, i: int = i, name: str = document.name) -> None:
                    self.progress(name, (i + part) / len(documents))

                with self.claim(self.documents.key(document.digest)) as ours:
                    outcome = self._outcome(scorer, document, report, record) if ours else None
                if outcome is not None:
                    yield document, outcome

    def _outcome(
        self,
        scorer: DocumentScorer,
        document: Document,
        report: Callable[[float], None],
        record: Mapping[str, Any],
    ) -> Scored | str:
        """Return a document's scores, another process's where it was faster, or why it failed."""
        lengths = self.request.lengths
        if not self.force and (since := self.documents.read(document.digest, lengths)):
            return since
        self.scored += 1
        try:
            return self._score(scorer, document, report, record)
        except ScoreError as error:
            return f"{document.name}: {error}"

    def _score(
        self,
        scorer: DocumentScorer,
        document: Document,
        report: Callable[[float], None],
        record: Mapping[str, Any],
    ) -> Scored:
        own = {**record, "document": document.name, "ran": dict(scorer.ran), "proof": scorer.proof}
        with timed(own):
            scores = scorer.score(self.texts.ids(document), self.request.lengths, report)
        facts = _facts(scorer)
        self._try_to(lambda: self.documents.keep(document.digest, scores, facts, own))
        sums = tuple(sums_at(scores[n], n) for n in self.request.lengths)
        return Scored(sums=sums, facts=facts, ran=scorer.ran)

    def _try_to(self, keep: Callable[[], None]) -> None:
        """Keep something; a store that is full ends no work, as its numbers can be shown."""
        if self.not_kept is None:
            try:
                keep()
            except StoreError as error:
                self.not_kept = error

    def _check_ran(self, scorer: DocumentScorer) -> None:
        """Refuse a model that is loaded in another dtype or commit than the key has."""
        for name, ran in scorer.ran.items():
            keyed = self.documents.setting.get(name)
            if keyed not in (None, AUTO) and ran not in (None, keyed):
                raise DataError(
                    f"{self.request.model} was loaded with {name} {ran}, and its files on this "
                    f"machine said {keyed}: run it again"
                    + (f", with --dtype {ran}" if name == "dtype" else "")
                )


def _facts(scorer: DocumentScorer) -> dict[str, Any]:
    """Return what is known of the setting on the checkpoint beside the scores."""
    bound, no_bound = scorer.rotary.bound
    return {
        "extrapolation_bound": bound,
        "no_bound": no_bound,
        "laws": scorer.rotary.laws.to_dict(),
        "effective_from": scorer.rotary.effective_from,
    }


def check_effect(facts: Mapping[str, Any], longest: int, strict: bool) -> None:
    """Refuse, strictly, a setting with a field that changes nothing in texts as long as these."""
    line = without_effect(facts["effective_from"], longest)
    if strict and line:
        raise SpecError(f"{line}. Ask for longer texts, or leave it or --strict out")


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
