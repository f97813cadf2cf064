"""Data sets of OpenCompass in a plan: a unit is what one name of ``--datasets`` holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.hosts.opencompass.process import measure, version_in
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
        """Raise `SpecError` where there is no OpenCompass."""
        if self.python is None and find_spec("opencompass") is None:
            raise SpecError(
                "OpenCompass is not in this environment: give python: of one that has it, see "
                "docs/opencompass.md"
            )
        version_in(self._python)

    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say whether it is stored."""
        return self._whole(cell).prospect(store)

    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Run it if it is not stored; what changes nothing is said by the process."""
        computed, run = self._whole(cell).measure(cell, context, lambda: self._opened(cell), _alone)
        return Outcome(units=computed, key=run.key)

    @property
    def _python(self) -> str:
        return self.python or sys.executable

    def _whole(self, cell: Cell) -> Whole:
        loading = cell.loading
        if loading.backend != "hf":
            raise SpecError(f"OpenCompass runs in a plan on backend hf, not {loading.backend}")
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
        part = Part(name=self.name, asked=asked | {"kind": f"{KIND_OF_RUN}_part"})
        return Whole(asked=asked, parts=(part,))

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

        def compute(part: Part, report: Report) -> Found:
            found = measure(self._python, self.name, settings, self.data_dir)
            protocols = sorted({task["protocol"] for task in found.tasks.values()})
            return Found(
                results={"row": None, "protocols": protocols, "tasks": found.tasks},
                arrays=found.arrays,
                record=found.provenance,
            )

        yield compute


def _alone(parts: Sequence[Found]) -> Found:
    (part,) = parts
    kept = {name: part.record[name] for name in ("versions", "proof") if name in part.record}
    return Found(results=part.results, arrays=part.arrays, record=kept)


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
