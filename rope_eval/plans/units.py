"""What a cell is made of, and how it is measured: one module a kind of measurement, one door."""

from __future__ import annotations

from rope_eval.plans import perplexity, tasks
from rope_eval.plans.context import Context, Prospect
from rope_eval.plans.plan import Cell, Task
from rope_eval.results.store import Store


def prospect(cell: Cell, store: Store) -> Prospect:
    """Say what of a cell is stored, and what is to be done.

    Raises:
        RopeEvalError: of the kind that fits, for what cannot be done.
    """
    if isinstance(cell.measurement, Task):
        return tasks.prospect(cell, cell.measurement, store)
    return perplexity.prospect(cell, cell.measurement, store)


def measure(cell: Cell, context: Context) -> int:
    """Measure what is missing of a cell, and return how many units that was.

    Raises:
        LeftToOthersError: where other workers are at the units that are missing.
        RopeEvalError: of the kind that fits, where the cell fails.
    """
    if isinstance(cell.measurement, Task):
        return tasks.measure(cell, cell.measurement, context)
    return perplexity.measure(cell, cell.measurement, context)
