"""Why a cell of a plan could not be measured: kept, so that it is not tried again unasked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rope_eval.errors import RopeEvalError, StoreError
from rope_eval.plans.cell import Cell
from rope_eval.results import identity
from rope_eval.results.provenance import provenance
from rope_eval.results.store import Run, Store
from rope_eval.safe_text import masked

KIND = "failure"


class Failures:
    """The failures in a store, among its documents: no table takes them for runs.

    Args:
        store: of the runs.
    """

    def __init__(self, store: Store) -> None:
        self.store = store.documents

    def read(self, cell: Cell) -> str | None:
        """Return why a cell failed, or None; other files of the model are another cell."""
        try:
            run = self.store.get(identity.run_key(_request(cell)))
        except StoreError:
            return None  # damaged: trying again tells
        return None if run is None else run.error

    def keep(self, cell: Cell, error: Exception) -> str:
        """Store why a cell failed, and return it.

        Raises:
            StoreError: it cannot be written.
        """
        asked = _request(cell)
        why = reason(error)
        run = Run(
            key=identity.run_key(asked),
            kind=KIND,
            status="failed",
            request=asked,
            results={},
            provenance=provenance(),
            error=why,
        )
        self.store.put(run, replace=True)
        return why


def reason(error: Exception) -> str:
    """Return an error in one line: of a library's, its kind too."""
    text = masked(" ".join(str(error).split())) or "no reason given"
    return text if isinstance(error, RopeEvalError) else f"{type(error).__name__}: {text}"


def _request(cell: Cell) -> dict[str, Any]:
    return identity.request(
        KIND,
        cell.setting.checkpoint,
        cell.setting.rope,
        backend=cell.loading.backend,
        dtype=cell.loading.dtype,
        loading=asdict(cell.loading),
        measurement=[type(cell.measurement).__name__, asdict(cell.measurement)],
        strict=cell.strict,
    )
