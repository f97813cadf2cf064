"""What a cell is made of, and how it is measured: one module a kind of measurement, one door."""

from __future__ import annotations

from rope_eval.plans import perplexity
from rope_eval.plans.context import Context, Prospect
from rope_eval.plans.plan import Cell, Perplexity
from rope_eval.results.store import Store

_KINDS = {Perplexity: perplexity}


def prospect(cell: Cell, store: Store) -> Prospect:
    """Say what of a cell is stored, and what is to be done.

    Raises:
        RopeEvalError: of the kind that fits, for what cannot be done.
    """
    return _KINDS[type(cell.measurement)].prospect(cell, store)


def measure(cell: Cell, context: Context) -> int:
    """Measure what is missing of a cell, and return how many units that was.

    Raises:
        LeftToOthersError: where other workers are at the units that are missing.
        RopeEvalError: of the kind that fits, where the cell fails.
    """
    return _KINDS[type(cell.measurement)].measure(cell, context)
