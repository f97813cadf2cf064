"""lm-eval's tasks in a plan: a unit is a task, or one of a group's tasks, under a setting."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.plans.cell import Cell, Kind, Measurement
from rope_eval.plans.context import Context, Outcome, Prospect
from rope_eval.plans.document import Value
from rope_eval.plans.models import refuse_budget
from rope_eval.plans.parts import Compute, Found, Part, Report, Whole
from rope_eval.plans.values import length
from rope_eval.results import identity
from rope_eval.results.identity import folder_digest
from rope_eval.results.resolved import resolved_laws
from rope_eval.results.store import Store

KIND_OF_RUN = "lm_eval"  # as an import is
KIND_OF_PART = "lm_eval_part"


@dataclass(frozen=True, kw_only=True)
class Task(Measurement):
    """A task or a group of lm-eval, or of this package for it.

    Attributes:
        task: its name.
        limit: the first so many items of each task; None for all.
        num_fewshot: examples before each item; None for the task's own number.
        max_length: tokens that the model takes; None for what its config says.
        batch_size: requests at a time.
        metadata: what the task takes, such as lengths.
        include_path: a folder with files of more tasks.
    """

    task: str
    limit: int | None = None
    num_fewshot: int | None = None
    max_length: int | None = None
    batch_size: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)
    include_path: str | None = None

    def __str__(self) -> str:
        return f"{self.task} of lm-eval"

    def check(self) -> None:
        """Raise `DataError` for a task that lm-eval does not have."""
        from rope_eval.hosts.lm_eval.evaluate import parts_of

        parts_of(self.task, self.metadata, self.include_path)

    def prospect(self, cell: Cell, store: Store) -> Prospect:
        """Say which tasks of a cell are stored."""
        _check_backend(cell)
        return self._whole(cell).prospect(store)

    def measure(self, cell: Cell, context: Context) -> Outcome:
        """Run the tasks that are not stored; what changes nothing, the model says itself."""
        _check_backend(cell)
        whole = self._whole(cell)
        computed, run = whole.measure(cell, context, lambda: self._opened(cell, context), _together)
        return Outcome(units=computed, key=run.key)

    def _whole(self, cell: Cell) -> Whole:
        from rope_eval.hosts.lm_eval.evaluate import parts_of

        asked = self._request(cell)
        parts = []
        for name in parts_of(self.task, self.metadata, self.include_path):
            of = {} if name == self.task else {"group": self.task}  # which may change its tasks
            one = asked | {"kind": KIND_OF_PART, "tasks": [name]} | of
            parts.append(Part(name=name, asked=one, of=name))
        return Whole(asked=asked, parts=tuple(parts))

    def _request(self, cell: Cell) -> dict[str, Any]:
        """Return all that determines the scores; other releases of lm-eval have other prompts."""
        loading = cell.loading
        refuse_budget(loading)
        own = {} if self.include_path is None else {"included": folder_digest(self.include_path)}
        return identity.request(
            KIND_OF_RUN,
            cell.setting.checkpoint,
            cell.setting.rope,
            backend=loading.backend,
            dtype=loading.dtype,
            tasks=[self.task],
            limit=self.limit,
            num_fewshot=self.num_fewshot,
            max_length=self.max_length,
            batch_size=self.batch_size,
            metadata=self.metadata,
            chunk_size=loading.chunk_size,
            device=loading.device,
            trust_remote_code=loading.trust_remote_code,
            lm_eval=importlib.metadata.version("lm-eval"),
            laws=resolved_laws(cell.setting.checkpoint, cell.setting.rope),
            **own,
        )

    @contextmanager
    def _opened(self, cell: Cell, context: Context) -> Iterator[Compute]:
        """Make lm-eval's model once for all parts."""
        from rope_eval.backends.hf.loading import load_tokenizer
        from rope_eval.hosts.lm_eval.evaluate import evaluate, load_tasks
        from rope_eval.hosts.lm_eval.model import ScalingRopeLM

        checkpoint, loading = cell.setting.checkpoint, cell.loading
        model = context.model.get(checkpoint, loading)
        tokenizer = load_tokenizer(checkpoint, trust_remote_code=loading.trust_remote_code)
        options: dict[str, Any] = cell.setting.rope.to_dict()
        if self.max_length is not None:
            options["max_length"] = self.max_length
        with (
            redirect_stdout(sys.stderr),  # where lm-eval prints
            ScalingRopeLM(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=self.batch_size,
                chunk_size=loading.chunk_size,
                proof=loading.proof,
                strict=cell.strict,
                **options,
            ) as lm,
        ):
            tasks = load_tasks(self.task, self.metadata, self.include_path)
            ran = {"dtype": lm.get_model_info()["dtype"], "device": model.device.type}

            def compute(part: Part, report: Report) -> Found:
                imported = evaluate(
                    lm,
                    tasks[part.of],
                    limit=self.limit,
                    num_fewshot=self.num_fewshot,
                    metadata=self.metadata,
                    include_path=self.include_path,
                )
                return Found(
                    results=imported.run.results | {"fingerprint": part.asked["fingerprint"]},
                    arrays=imported.arrays,
                    record={"ran": [ran], "proof": lm.proof, "reach": lm.reach.to_dict()},
                )

            yield compute


def _together(parts: Sequence[Found]) -> Found:
    """Return the run that an import of one run of all tasks would be."""
    tasks = {name: task for part in parts for name, task in part.results["tasks"].items()}
    protocols = {protocol for part in parts for protocol in part.results["protocols"]}
    longest: dict[str, int] = {}
    for part in parts:
        for kind, tokens in part.record["reach"]["longest"].items():
            longest[kind] = max(tokens, longest.get(kind, 0))
    last = parts[-1]
    return Found(
        results=last.results | {"tasks": tasks, "protocols": sorted(protocols)},
        arrays={name: array for part in parts for name, array in part.arrays.items()},
        record={
            "ran": last.record["ran"],
            "proof": last.record["proof"],
            "reach": last.record["reach"] | {"longest": longest},
        },
    )


def _check_backend(cell: Cell) -> None:
    if cell.loading.backend != "hf":
        raise SpecError(f"lm-eval's tasks run in a plan on backend hf, not {cell.loading.backend}")


_OPTIONS: dict[str, Callable[[Value], Any]] = {
    "limit": Value.count,
    "num_fewshot": lambda value: 0 if value.plain() == 0 else value.count(),
    "max_length": length,
    "batch_size": Value.count,
}


def _read(value: Value) -> list[Task]:
    given = value.items(
        ("tasks", *_OPTIONS, "include_path", "metadata"), needed={"tasks": "[piqa]"}
    )
    options = {name: read(given[name]) for name, read in _OPTIONS.items() if name in given}
    if "include_path" in given:
        options["include_path"] = given["include_path"].text()
    if "metadata" in given:
        options["metadata"] = {n: one.plain() for n, one in given["metadata"].items().items()}
    return [Task(task=one.text(), **options) for one in given["tasks"].elements()]


KIND = Kind(word="lm_eval", read=_read)
