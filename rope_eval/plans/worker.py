"""A worker: walks the cells of a plan until each is done or has failed.

Any number of workers may walk one plan: they share the units of its cells through claims, and a
unit whose worker died is taken over. What stops a worker leaves whole units behind, and the next
one goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rope_eval.errors import SpecError, StoreError
from rope_eval.plans.cell import Cell
from rope_eval.plans.context import Context
from rope_eval.plans.failures import Failures
from rope_eval.plans.models import LoadedModel
from rope_eval.plans.plan import Plan
from rope_eval.plans.remote_claims import claims_of
from rope_eval.results.store import Store
from rope_eval.runner import LeftToOthersError


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Where in the plan a worker begins: nothing else, so that none is missing when one dies.

    Attributes:
        index: which worker it is, from 1.
        of: how many there are.
    """

    index: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.of:
            raise SpecError(f"a shard is written i/n with i from 1 to n, got {self}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return what ``2/8`` says."""
        index, _, of = text.partition("/")
        if not (index.isdecimal() and of.isdecimal() and len(text) < 20):
            raise SpecError(f"a shard is written i/n, such as 2/8, got {text!r}")
        return cls(index=int(index), of=int(of))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def order(self, cells: tuple[Cell, ...]) -> list[Cell]:
        """Return the cells from this worker's first one on, and then those before it."""
        first = (self.index - 1) * len(cells) // self.of
        return [*cells[first:], *cells[:first]]


@dataclass(kw_only=True, slots=True)
class Done:
    """What a worker has done.

    Attributes:
        units: how many it computed itself.
        cells: how many are done, by whomever.
        failed: why, by the cell.
        notes: which fields of the setting changed nothing, by the cell.
        loads: how often a model was loaded.
    """

    units: int = 0
    cells: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    loads: int = 0


def work(
    plan: Plan,
    store: Store,
    *,
    retry: bool = False,
    shard: Shard | None = None,
    progress: Callable[[Cell, str, float], None] = lambda cell, unit, part: None,
    wait: Callable[[float], None] = time.sleep,
    begin: Callable[[Cell], None] = lambda cell: None,
) -> Done:
    """Measure what a plan asks for, as far as it is not in the store.

    Args:
        plan: the plan.
        store: where runs and documents are kept.
        retry: try again what has failed.
        shard: where to begin.
        progress: told the cell and the unit at work, and the part of the plan that is done.
        wait: sleeps while other workers have what is left.
        begin: told each cell before it is measured; what it raises is why the cell fails.

    Raises:
        StoreError: where the store cannot be written, or is damaged.
    """
    model, claims, failures = LoadedModel(), claims_of(store), Failures(store)
    done = Done()
    pending = (shard or Shard()).order(plan.cells)
    while pending:
        left: list[Cell] = []
        before = done.units + done.cells
        for cell in pending:
            finished = done.cells + len(done.failed)

            def report(unit: str, part: float, cell: Cell = cell, finished: int = finished) -> None:
                progress(cell, unit, (finished + part) / len(plan.cells))

            if not retry and (why := failures.read(cell)):
                done.failed[str(cell)] = why
                continue
            try:
                begin(cell)
                outcome = cell.measurement.measure(
                    cell,
                    Context(store=store, model=model, claims=claims, retry=retry, progress=report),
                )
            except LeftToOthersError as others:
                done.units += others.computed
                left.append(cell)
            except StoreError:
                raise
            except Exception as error:  # whatever it is, the other cells do not depend on it
                done.failed[str(cell)] = failures.keep(cell, error)
            else:
                done.units += outcome.units
                done.cells += 1
                if outcome.note:
                    done.notes[str(cell)] = outcome.note
        if left and done.units + done.cells == before:
            wait(claims.poll)
        pending = left
    done.loads = model.loads
    return done
