"""Data sets of OpenCompass in a plan: a unit is one of what a name of ``--datasets`` holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.hosts.opencompass.process import Session, parts_in, version_in
from rope_eval.plans.cell import Cell, Kind, Measurement
from rope_eval.plans.context import Context, Outcome, Prospect
from rope_eval.plans.document import Value
from rope_eval.plans.parts import Compute, Found, Part, Report, Whole
from rope_eval.plans.values import length
from rope_eval.protocols.truncation import SIDES
from rope_eval.results import identity
from rope_eval.results.resolved import resolved_laws
from rope_eval.results.store import Store

KIND_OF_RUN = "opencompass"
KIND_OF_PART = "opencompass_part"


@dataclass(frozen=True, kw_only=True)
class DataSet(Measurement):
    """A data set of OpenCompass, or of this package for it.

    Attributes:
        name: of ``--datasets``.
        python: the interpreter of the environment of OpenCompass; None for this one.
        max_length: tokens of a prompt and its continuation.
        truncation: the side that a longer prompt loses.
        batch_size: prompts at a time.
        max_out_len: tokens that are written at most, where the data set does not say.
        data_dir: a folder of data sets instead of the hub, for those of this package.
    """

    name: str
    python: str | None = None
    max_length: int = 16384
    truncation: str = "left"
    batch_size: int = 8
    max_out_len: int = 100
    data_dir: str | None = None

    def __str__(self) -> str:
        return f"{self.name} of OpenCompass"

    def check(self) -> None:
        """Raise `SpecError` where there is no OpenCompass, or no such data set."""
        if self.python is None and find_spec("opencompass") is None:
            raise SpecError(
                "OpenCompass is not in this environment: give python: of one that has it, see "
                "docs/opencompass.md"
            )
        version_in(self._python)
        parts_in(self._python, self.name, self.data_dir)

    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say which parts are stored."""
        return self._whole(cell).prospect(store)

    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Run the parts that are not stored."""
        whole = self._whole(cell)
        computed, run = whole.measure(cell, context, lambda: self._opened(cell), _together)
        return Outcome(units=computed, key=run.key)

    @property
    def _python(self) -> str:
        return self.python or sys.executable

    def _whole(self, cell: Cell) -> Whole:
        loading = cell.loading
        if loading.backend != "hf":
            raise SpecError(f"OpenCompass runs in a plan on backend hf, not {loading.backend}")
        if loading.memory_budget is not None or loading.offload:
            raise SpecError("OpenCompass loads a model whole: leave memory_budget and offload out")
        asked = identity.request(
            KIND_OF_RUN,
            cell.setting.checkpoint,
            cell.setting.rope,
            backend=loading.backend,
            dtype=loading.dtype,
            datasets=[self.name],
            max_length=self.max_length,
            truncation=self.truncation,
            batch_size=self.batch_size,
            max_out_len=self.max_out_len,
            data_dir=self.data_dir,
            chunk_size=loading.chunk_size,
            device=loading.device,
            trust_remote_code=loading.trust_remote_code,
            opencompass=version_in(self._python),
            laws=resolved_laws(cell.setting.checkpoint, cell.setting.rope),
        )
        parts = tuple(
            Part(name=name, asked=asked | {"kind": KIND_OF_PART, "part": name})
            for name in parts_in(self._python, self.name, self.data_dir)
        )
        if not parts:
            raise SpecError(f"{self.name} has no part whose data are at hand")
        return Whole(asked=asked, parts=parts)

    @contextmanager
    def _opened(self, cell: Cell) -> Iterator[Compute]:
        loading = cell.loading
        settings: dict[str, Any] = {
            "path": cell.setting.checkpoint,
            "max_seq_len": self.max_length,
            "truncation": self.truncation,
            "batch_size": self.batch_size,
            "max_out_len": self.max_out_len,
            "dtype": loading.dtype,
            "device": loading.device,
            "chunk_size": loading.chunk_size,
            "trust_remote_code": loading.trust_remote_code,
            "allow_pickle": loading.allow_pickle,
            "proof": loading.proof,
            "strict": cell.strict,
            **cell.setting.rope.to_dict(),
        }

        with Session(self._python, self.name, settings, self.data_dir) as session:

            def compute(part: Part, report: Report) -> Found:
                found = session.measure(part.name)
                protocols = sorted({task["protocol"] for task in found.tasks.values()})
                return Found(
                    results={"row": None, "protocols": protocols, "tasks": found.tasks},
                    arrays=found.arrays,
                    record=found.provenance,
                )

            yield compute


def _together(parts: Sequence[Found]) -> Found:
    """Return the run of all parts."""
    tasks = {name: task for part in parts for name, task in part.results["tasks"].items()}
    protocols = {protocol for part in parts for protocol in part.results["protocols"]}
    last = parts[-1].record
    return Found(
        results={"row": None, "protocols": sorted(protocols), "tasks": tasks},
        arrays={name: array for part in parts for name, array in part.arrays.items()},
        record={name: last[name] for name in ("versions", "proof") if name in last},
    )


def _read(value: Value) -> list[DataSet]:
    given = value.items(
        (
            "datasets",
            *("python", "max_length", "truncation", "batch_size", "max_out_len", "data_dir"),
        ),
        needed={"datasets": "[rope_paper_piqa]"},
    )
    options: dict[str, Any] = {
        name: given[name].count() for name in ("batch_size", "max_out_len") if name in given
    }
    options |= {name: given[name].text() for name in ("python", "data_dir") if name in given}
    if "max_length" in given:
        options["max_length"] = length(given["max_length"])
    if "truncation" in given:
        options["truncation"] = given["truncation"].one_of(tuple(SIDES))
    return [DataSet(name=one.text(), **options) for one in given["datasets"].elements()]


KIND = Kind(word="opencompass", read=_read)
