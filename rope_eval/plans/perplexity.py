"""Cumulative perplexity in a plan: a unit is a document under a setting."""

from __future__ import annotations

from rope_eval import runner
from rope_eval.plans.context import Context, Prospect, RunState
from rope_eval.plans.plan import Cell, Perplexity
from rope_eval.results.store import Store


def prospect(cell: Cell, wanted: Perplexity, store: Store) -> Prospect:
    """Say what of a cell is stored; the tokenizer is loaded where a length is not known yet."""
    found = runner.prospect(_request(cell, wanted), store)
    run = found.run
    failed = [] if run is None else run.results.get("failed", [])
    why = "; ".join(one["error"] for one in failed)
    state: RunState = "open"
    if run is not None and run.status == "failed":
        state, why = "failed", run.error or ""
    elif run is not None:
        state = "partly failed" if failed else "done"
    return Prospect(
        state=state,
        units=found.documents,
        stored=found.stored,
        tokens=found.tokens,
        seconds=found.seconds,
        why=why,
    )


def measure(cell: Cell, wanted: Perplexity, context: Context) -> int:
    """Score the documents that are missing, and return how many."""
    return runner.answer(
        _request(cell, wanted),
        context.store,
        strict=cell.strict,
        retry=context.retry,
        progress=context.progress,
        opener=context.model.scorer,
        claim=context.claims.claim,
    ).scored


def _request(cell: Cell, wanted: Perplexity) -> runner.CumulativeRequest:
    return runner.CumulativeRequest(
        model=cell.setting.checkpoint,
        rope=cell.setting.rope,
        books=wanted.books,
        lengths=wanted.lengths,
        documents=wanted.docs,
        loading=cell.loading,
        row=cell.setting.row,
    )
