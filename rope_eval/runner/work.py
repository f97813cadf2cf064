"""Scoring the documents that are missing, and keeping each as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, ScoreError, SpecError, StoreError
from rope_eval.results.documents import Documents, Scored
from rope_eval.results.provenance import timed
from rope_eval.results.resolved import AUTO
from rope_eval.rope.reach import without_effect
from rope_eval.rope.spec import RopeSpec
from rope_eval.runner.texts import CumulativeRequest, Texts
from rope_eval.scores import sums_at
from rope_eval.scoring.documents import DocumentScorer, Loading

if TYPE_CHECKING:
    from rope_eval.data.books import Document

Progress = Callable[[str, float], None]  # what is being done, and the part of it that is
Opener = Callable[[str, RopeSpec, int, Loading], AbstractContextManager[DocumentScorer]]
Claim = Callable[[str], AbstractContextManager[bool]]
"""Takes a document's key before it is scored; False within where another process is at it."""


@dataclass(kw_only=True)
class Work:
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
            check_effect(facts_of(scorer), request.lengths[-1], self.strict)
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
        own = {**record, "document": document.name, "proof": scorer.proof}
        with timed(own):
            scores = scorer.score(self.texts.ids(document), self.request.lengths, report)
        ran = own["ran"] = dict(scorer.ran)
        facts = facts_of(scorer)
        self._try_to(lambda: self.documents.keep(document.digest, scores, facts, own))
        sums = tuple(sums_at(scores[n], n) for n in self.request.lengths)
        return Scored(sums=sums, facts=facts, ran=ran)

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


def facts_of(scorer: DocumentScorer) -> dict[str, Any]:
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
