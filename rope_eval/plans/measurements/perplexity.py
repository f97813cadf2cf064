"""Cumulative perplexity in a plan: a unit is a document under a setting."""

from __future__ import annotations

from dataclasses import dataclass

from rope_eval import runner
from rope_eval.plans.cell import Cell, Kind, Measurement
from rope_eval.plans.context import Context, Outcome, Prospect, RunState
from rope_eval.plans.document import Value
from rope_eval.plans.values import lengths
from rope_eval.results.store import Store
from rope_eval.rope.reach import without_effect


@dataclass(frozen=True, kw_only=True)
class Perplexity(Measurement):
    """Cumulative perplexity of whole books.

    Attributes:
        books: a source of `rope_eval.data.books.read_books`.
        lengths: tokens seen, BOS included, increasing.
        docs: how many documents, the first that are long enough; None for all.
    """

    books: str
    lengths: tuple[int, ...]
    docs: int | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.lengths[-1]

    def __str__(self) -> str:
        return f"perplexity of {self.books} to {self.longest}"

    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say what of a cell is stored; the tokenizer is loaded where a length is not known yet."""
        found = runner.prospect(self._request(cell), store)
        run = found.run
        failed = [] if run is None else run.results.get("failed", [])
        why = "; ".join(one["error"] for one in failed)
        state: RunState = "open"
        if run is not None and run.status == "failed":
            state, why = "failed", run.error or ""
        elif run is not None:
            state = "partly failed" if failed else "done"
        return Prospect(
            key=found.key,
            state=state,
            units=found.documents,
            stored=found.stored,
            passes=found.passes,
            timed=found.timed,
            why=why,
        )

    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Score the documents that are missing."""
        found = runner.answer(
            self._request(cell),
            context.store,
            strict=cell.strict,
            retry=context.retry,
            progress=context.progress,
            opener=context.model.scorer,
            claim=context.claims.claim,
        )
        return Outcome(
            units=found.scored,
            key=found.run.key,
            note=without_effect(found.run.results.get("effective_from", {}), self.longest),
        )

    def _request(self, cell: Cell) -> runner.CumulativeRequest:
        return runner.CumulativeRequest(
            model=cell.setting.checkpoint,
            rope=cell.setting.rope,
            books=self.books,
            lengths=self.lengths,
            documents=self.docs,
            loading=cell.loading,
            row=cell.setting.row,
        )


def _read(value: Value) -> list[Perplexity]:
    given = value.items(("books", "lengths", "docs"), needed={"lengths": "[1k, 4k]"})
    return [
        Perplexity(
            books=given["books"].text() if "books" in given else "builtin",
            lengths=lengths(given["lengths"]),
            docs=given["docs"].count() if "docs" in given else None,
        )
    ]


KIND = Kind(word="perplexity", read=_read)
