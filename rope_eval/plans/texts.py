"""The texts of a cell: the first documents that are long enough, each one a part of a run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from rope_eval.plans.cell import Cell, Measurement
from rope_eval.plans.context import Context, Outcome, Prospect
from rope_eval.plans.parts import Compute, Found, Part, Whole
from rope_eval.results.store import Store
from rope_eval.rope.reach import without_effect
from rope_eval.runner.texts import CumulativeRequest, Texts
from rope_eval.runner.work import check_effect
from rope_eval.safe_text import masked


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """Where the texts of a measurement are from.

    Attributes:
        source: of `rope_eval.data.books.read_books`.
        tokens: of each, BOS included.
        documents: how many, the first that are long enough; None for all.
    """

    source: str
    tokens: int
    documents: int | None

    def texts(self, cell: Cell, store: Store) -> Texts:
        """Return them for a cell's model."""
        request = CumulativeRequest(
            model=cell.setting.checkpoint,
            rope=cell.setting.rope,
            books=self.source,
            lengths=(self.tokens,),
            documents=self.documents,
            loading=cell.loading,
        )
        return Texts(request, store)

    def whole(self, texts: Texts, kind: str, options: Mapping[str, Any]) -> Whole:
        """Return the run of a kind on them, a document a part.

        Args:
            texts: of `texts`.
            kind: of the run.
            options: what else determines it.
        """
        documents = texts.documents()
        setting = texts.setting()
        # what a model is called changes nothing, and so two names of one model share their parts
        of_part = {name: value for name, value in setting.items() if name != "model"}
        parts = tuple(
            Part(
                name=document.name,
                asked={**of_part, **options, "kind": f"{kind}_part", "document": document.digest},
                tokens=self.tokens,
                of=document,
            )
            for document in {one.digest: one for one in documents}.values()
        )
        named = [{"name": one.name, "sha256": one.digest} for one in documents]
        asked = {**setting, **options, "books": masked(self.source), "documents": named}
        return Whole(asked=asked | {"kind": kind}, parts=parts)


@dataclass(frozen=True, kw_only=True)
class OfBooks(Measurement):
    """A measurement of books: a unit is a document under a setting.

    Attributes:
        kind_of_run: under which its runs are stored.
        books: a source of `rope_eval.data.books.read_books`.
    """

    kind_of_run: ClassVar[str]
    books: str

    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say which documents are stored."""
        return self._whole(cell, self._texts.texts(cell, store)).prospect(store)

    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Measure the documents that are missing, and put all into one run."""
        texts = self._texts.texts(cell, context.store)
        whole = self._whole(cell, texts)
        computed, run = whole.measure(
            cell,
            context,
            lambda: self._opened(cell, context, texts),
            lambda found: self._together(cell, whole, found),
        )
        note = ""
        if "effective_from" in run.results:
            assert self.longest is not None
            stated = cell.setting.stated
            check_effect(run.results, self.longest, cell.strict, stated)
            note = without_effect(run.results["effective_from"], self.longest, stated=stated)
        return Outcome(units=computed, key=run.key, note=note)

    @property
    @abstractmethod
    def _texts(self) -> Books:
        """Return which of the books are measured."""

    @abstractmethod
    def _options(self, cell: Cell) -> Mapping[str, Any]:
        """Return what determines a number beside the texts and the setting."""

    @abstractmethod
    def _opened(
        self, cell: Cell, context: Context, texts: Texts
    ) -> AbstractContextManager[Compute]:
        """Load what computes a document."""

    @abstractmethod
    def _together(self, cell: Cell, whole: Whole, found: Sequence[Found]) -> Found:
        """Return the run of what was found of its documents."""

    def _whole(self, cell: Cell, texts: Texts) -> Whole:
        return self._texts.whole(texts, self.kind_of_run, self._options(cell))


def record_of(found: Sequence[Found]) -> dict[str, Any]:
    """Return how a run's documents ran: as the first of them."""
    return {name: found[0].record[name] for name in ("ran", "proof")}
