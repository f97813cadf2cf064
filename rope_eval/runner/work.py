"""Scoring the documents that are missing, and keeping each as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError, ScoreError, SpecError, StoreError
from rope_eval.results.documents import Documents, Scored
from rope_eval.results.provenance import timed
from rope_eval.results.resolved import AUTO
from rope_eval.rope.reach import without_effect
from rope_eval.rope.spec import RopeSpec
from rope_eval.runner.texts import CumulativeRequest, Texts
from rope_eval.scores import TokenScores, Windows
from rope_eval.scoring.documents import DocumentScorer, Loading

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.data.books import Document

Progress = Callable[[str, float], None]  # what is being done, and the part of it that is
Opener = Callable[[str, RopeSpec, int, Loading], AbstractContextManager[DocumentScorer]]
Claim = Callable[[str], AbstractContextManager[bool]]
"""Takes a document's key before it is scored; False within where another process is at it."""


@dataclass(kw_only=True)
class Work:
    """Scores the documents of a request, and keeps each as soon as it is done."""

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
            check_effect(
                facts_of(scorer),
                request.lengths[-1],
                self.strict,
                request.stated,
            )
            record["machine"]["gpu"] = scorer.gpu
            record["proof"] = scorer.proof
            self._try_to(lambda: self.texts.keep_counts(record))
            for start in range(0, len(documents), scorer.at_once):
                some = documents[start : start + scorer.at_once]

                def report(part: float, start: int = start, some: Any = some) -> None:
                    self.progress(some[0].name, (start + part * len(some)) / len(documents))

                with ExitStack() as claims:
                    ours = [
                        document
                        for document in some
                        if claims.enter_context(self.claim(self.documents.key(document.digest)))
                    ]
                    outcomes = self._outcomes(scorer, ours, report, record)
                yield from outcomes

    def _outcomes(
        self,
        scorer: DocumentScorer,
        documents: Sequence[Document],
        report: Callable[[float], None],
        record: Mapping[str, Any],
    ) -> list[tuple[Document, Scored | str]]:
        """Return documents' scores, another process's where it was faster, or why one failed."""
        since = {} if self.force else self.stored(documents)
        outcomes: list[tuple[Document, Scored | str]] = [
            (document, since[document.digest]) for document in documents if document.digest in since
        ]
        left = [document for document in documents if document.digest not in since]
        if not left:
            return outcomes
        self.scored += len(left)
        own = {**record, "proof": scorer.proof}
        with timed(own):
            found = self._scores(scorer, [self.texts.ids(document) for document in left], report)
        own["ran"] = dict(scorer.ran)  # afterwards: what memory allowed stands there too
        for document, scores in zip(left, found, strict=True):
            if isinstance(scores, ScoreError):
                outcomes.append((document, f"{document.name}: {scores}"))
            else:
                outcomes.append((document, self._kept(scorer, document, scores, own)))
        return outcomes

    def _kept(
        self,
        scorer: DocumentScorer,
        document: Document,
        scores: Mapping[int, TokenScores | Windows],
        record: Mapping[str, Any],
    ) -> Scored:
        facts, own = facts_of(scorer), {**record, "document": document.name}
        self._try_to(lambda: self.documents.keep(document.digest, scores, facts, own))
        sums = tuple(self.documents.sums(scores[n], n) for n in self.request.lengths)
        return Scored(sums=sums, facts=facts, ran=record["ran"])

    def _scores(
        self, scorer: DocumentScorer, texts: Sequence[Tensor], report: Callable[[float], None]
    ) -> Sequence[Mapping[int, TokenScores | Windows] | ScoreError]:
        protocol, lengths = self.request.protocol, self.request.lengths
        if not protocol.windowed:
            return scorer.score_each(texts, lengths, report)
        from rope_eval.scoring.windows import score_windows

        bos = self.texts.begin_with_bos
        found: list[Mapping[int, TokenScores | Windows] | ScoreError] = []
        for ids in texts:
            try:
                found.append(
                    score_windows(scorer.score, ids, lengths, protocol, bos=bos, report=report)
                )
            except ScoreError as error:
                found.append(error)
        return found

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


def check_effect(
    facts: Mapping[str, Any], longest: int, strict: bool, stated: Collection[str]
) -> None:
    """Refuse, strictly, a setting with a field that changes nothing in texts as long as these."""
    line = without_effect(facts["effective_from"], longest, stated=stated)
    if strict and line:
        raise SpecError(f"{line}. Ask for longer texts, or leave it or --strict out")
