"""A run that is made of parts: documents, tasks. Each is kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from rope_eval.errors import ScoreError, StoreError
from rope_eval.plans.cell import Cell
from rope_eval.plans.context import Context, Prospect
from rope_eval.plans.failures import reason
from rope_eval.results.identity import run_key
from rope_eval.results.provenance import of_this_machine, provenance
from rope_eval.results.provenance import timed as in_time
from rope_eval.results.store import Run, Store
from rope_eval.runner import LeftToOthersError

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a run: a unit.

    Attributes:
        name: for people.
        asked: all that determines it, its kind among it.
        tokens: that go through the model for it, or None.
        of: what it is of: a document, or a task.
    """

    name: str
    asked: Mapping[str, Any]
    tokens: int | None = None
    of: Any = None

    @property
    def key(self) -> str:
        """Its key, of a hash of `asked`."""
        return run_key(self.asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was found of a part, or of a run.

    Attributes:
        results: plain JSON values.
        arrays: by name.
        record: of its provenance: ``ran``, ``proof``.
    """

    results: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


Report = Callable[[float], None]
Compute = Callable[[Part, Report], Found]
Assemble = Callable[[Sequence[Found]], Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A run of parts.

    Attributes:
        asked: all that determines it, its kind among it.
        parts: in the order in which they are assembled.
    """

    asked: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        """The key of the run."""
        return run_key(self.asked)

    def prospect(self, store: Store) -> Prospect:
        """Say what is stored, and what is to be done."""
        run = store.get(self.key)
        kept = {part.key: store.documents.get(part.key) for part in self.parts}
        timed = []
        for part in self.parts:
            one = kept[part.key]
            if one is not None and of_this_machine(one.provenance):
                timed.append((part.tokens, one.provenance["duration_s"]))
        missing = [] if run else [part for part in self.parts if kept[part.key] is None]
        tokens = [part.tokens for part in missing if part.tokens is not None]
        return Prospect(
            key=self.key,
            state="open" if run is None else "done",
            units=tuple(kept),
            stored=len(kept) - len(missing),
            passes=tuple(tokens) if len(tokens) == len(missing) else None,
            timed=tuple(timed),
        )

    def measure(
        self,
        cell: Cell,
        context: Context,
        opened: Callable[[], AbstractContextManager[Compute]],
        assemble: Assemble,
    ) -> tuple[int, Run]:
        """Compute the parts that are missing, and put the run together.

        A part that fails does not keep the others from being tried.

        Args:
            cell: the cell.
            context: the worker's.
            opened: called where a part is missing; gives what computes one.
            assemble: makes the run of its parts.

        Returns:
            How many parts were computed now, and the run.

        Raises:
            LeftToOthersError: where other processes are at the parts that are missing.
            ScoreError: where a part failed.
            StoreError: where the store cannot be written.
        """
        old = context.store.get(self.key)
        if old is not None:
            return 0, old
        kept = context.store.documents
        there = kept.have(part.key for part in self.parts)
        missing = [part for part in self.parts if part.key not in there]
        failed: dict[str, str] = {}
        computed = 0
        if missing:
            context.store.require_writable()
            with opened() as compute:
                for i, part in enumerate(missing):

                    def report(done: float, i: int = i, name: str = part.name) -> None:
                        context.progress(name, (i + done) / len(missing))

                    with context.claims.claim(part.key) as ours:
                        if not ours or kept.get(part.key) is not None:
                            continue
                        try:
                            _keep(part, cell, kept, compute, report)
                            computed += 1
                        except StoreError:
                            raise
                        except Exception as error:  # the other parts do not depend on it
                            failed[part.name] = reason(error)
        if failed:
            name, why = next(iter(failed.items()))
            others = f" (and {len(failed) - 1} more parts)" if len(failed) > 1 else ""
            raise ScoreError(why if len(self.parts) == 1 else f"{name}{others}: {why}")
        if computed < len(missing):
            there = kept.have(part.key for part in self.parts)
            if left := sum(part.key not in there for part in self.parts):
                raise LeftToOthersError(f"other processes are at {left} of the parts", computed)
        return computed, self._assembled(cell, context, assemble)

    def _assembled(self, cell: Cell, context: Context, assemble: Assemble) -> Run:
        kept = context.store.documents
        found = [_read(kept, part.key) for part in self.parts]
        whole = assemble(found)
        seconds = [one.record["duration_s"] for one in found]
        record = provenance() | {"row": cell.setting.row, "duration_s": sum(seconds)}
        return _put(context.store, self.key, self.asked, whole, record)


def _keep(part: Part, cell: Cell, kept: Store, compute: Compute, report: Report) -> None:
    report(0.0)
    record = provenance() | {"row": cell.setting.row, "part": part.name}
    with in_time(record):
        found = compute(part, report)
    _put(kept, part.key, part.asked, found, record)


def _put(
    store: Store, key: str, asked: Mapping[str, Any], found: Found, record: Mapping[str, Any]
) -> Run:
    run = Run(
        key=key,
        kind=asked["kind"],
        status="done",
        request=dict(asked),
        results=found.results,
        provenance={**record, **found.record},
    )
    return store.put(run, found.arrays)


def _read(kept: Store, key: str) -> Found:
    whole = kept.whole(key)
    if whole is None:
        raise StoreError(f"the part {key} was removed from {kept.root} meanwhile: run it again")
    run, arrays = whole
    return Found(results=run.results, arrays=arrays, record=run.provenance)
