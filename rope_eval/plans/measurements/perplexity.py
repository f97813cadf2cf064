"""Cumulative perplexity in a plan: a unit is a document under a setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rope_eval import runner
from rope_eval.plans.cell import Cell, Kind, Measurement
from rope_eval.plans.context import Context, Outcome, Prospect, RunState
from rope_eval.plans.document import Value
from rope_eval.plans.values import lengths, tokens
from rope_eval.protocols.perplexity import CUMULATIVE, FIELDS, PerplexityProtocol
from rope_eval.results.store import Store
from rope_eval.rope.reach import without_effect

_NUMBERS = ("stride", "last", "tokens", "truncation")


@dataclass(frozen=True, kw_only=True)
class Perplexity(Measurement):
    """Cumulative perplexity of whole books.

    Attributes:
        books: a source of `rope_eval.data.books.read_books`.
        lengths: tokens seen, BOS included, increasing.
        docs: how many documents, the first that are long enough; None for all.
        protocol: which tokens are scored, after which context.
    """

    books: str
    lengths: tuple[int, ...]
    docs: int | None = None
    protocol: PerplexityProtocol = CUMULATIVE

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return self.lengths[-1]

    def __str__(self) -> str:
        by = "" if self.protocol == CUMULATIVE else f", {self.protocol.label}"
        return f"perplexity of {self.books} to {self.longest}{by}"

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
            note=without_effect(
                found.run.results.get("effective_from", {}),
                self.longest,
                stated=cell.setting.stated,
            ),
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
            protocol=self.protocol,
        )


def _read(value: Value) -> list[Perplexity]:
    names = ("books", "lengths", "docs", "protocol", *FIELDS)
    given = value.items(names, needed={"lengths": "[1k, 4k]"})
    at = lengths(given["lengths"])
    return [
        Perplexity(
            books=given["books"].text() if "books" in given else "builtin",
            lengths=at,
            docs=given["docs"].count() if "docs" in given else None,
            protocol=value.checked(lambda _: _protocol(given, at)),
        )
    ]


def _protocol(given: Mapping[str, Value], at: tuple[int, ...]) -> PerplexityProtocol:
    """Return the protocol, checked against the lengths."""
    protocol = PerplexityProtocol(
        name=given["protocol"].text() if "protocol" in given else CUMULATIVE.name,
        mean=given["mean"].text() if "mean" in given else None,
        **{name: tokens(given[name]) for name in _NUMBERS if name in given},
        **{name: given[name].plain() for name in ("alpha", "beta") if name in given},
    )
    protocol.longest(at)
    return protocol


KIND = Kind(word="perplexity", read=_read)
