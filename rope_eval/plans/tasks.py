"""lm-eval's tasks in a plan: a unit is a task, or a group, under a setting."""

from __future__ import annotations

import importlib.metadata
import sys
from contextlib import redirect_stdout
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.plans.context import Context, Prospect
from rope_eval.plans.plan import Cell, Task
from rope_eval.results import identity
from rope_eval.results.provenance import provenance, timed
from rope_eval.results.resolved import resolved_laws
from rope_eval.results.store import Run, Store
from rope_eval.runner import LeftToOthersError

KIND = "lm_eval"


def prospect(cell: Cell, wanted: Task, store: Store) -> Prospect:
    """Say whether a cell is stored."""
    key = identity.run_key(_request(cell, wanted))
    run = store.get(key)
    seconds = run.provenance.get("duration_s") if run else None
    return Prospect(
        state="done" if run else "open",
        units=(key,),
        stored=1 if run else 0,
        tokens=None,
        seconds=() if seconds is None else (seconds,),
    )


def measure(cell: Cell, wanted: Task, context: Context) -> int:
    """Run the task if it is not stored, and return 1 where it was run."""
    asked = _request(cell, wanted)
    key = identity.run_key(asked)
    if context.store.get(key) is not None:
        return 0
    with context.claims.claim(key) as ours:
        if not ours:
            raise LeftToOthersError("another process runs the task")
        if context.store.get(key) is not None:
            return 0
        context.progress(wanted.task, 0.0)
        _run(cell, wanted, context, asked)
    return 1


def _run(cell: Cell, wanted: Task, context: Context, asked: dict[str, Any]) -> None:
    from rope_eval.backends.hf.loading import load_tokenizer
    from rope_eval.hosts.lm_eval.evaluate import evaluate
    from rope_eval.hosts.lm_eval.model import ScalingRopeLM

    checkpoint, loading = cell.setting.checkpoint, cell.loading
    if loading.backend != "hf":
        raise SpecError(f"lm-eval's tasks run in a plan on backend hf, not {loading.backend}")
    record = provenance() | {"row": cell.setting.row}
    model = context.model.get(checkpoint, loading)
    tokenizer = load_tokenizer(checkpoint, trust_remote_code=loading.trust_remote_code)
    options: dict[str, Any] = cell.setting.rope.to_dict()
    if wanted.max_length is not None:
        options["max_length"] = wanted.max_length
    with (
        timed(record),
        redirect_stdout(sys.stderr),  # where lm-eval prints
        ScalingRopeLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=wanted.batch_size,
            chunk_size=loading.chunk_size,
            proof=loading.proof,
            strict=cell.strict,
            **options,
        ) as lm,
    ):
        imported = evaluate(
            lm,
            wanted.task,
            limit=wanted.limit,
            num_fewshot=wanted.num_fewshot,
            metadata=wanted.metadata,
        )
        ran = {"dtype": lm.get_model_info()["dtype"], "device": model.device.type}
    run = Run(
        key=identity.run_key(asked),
        kind=KIND,
        status="done",
        request=asked,
        results=imported.run.results | {"fingerprint": asked["fingerprint"]},
        provenance=record | {"ran": [ran], "proof": lm.proof, "reach": lm.reach.to_dict()},
    )
    context.store.put(run, imported.arrays)


def _request(cell: Cell, wanted: Task) -> dict[str, Any]:
    """Return all that determines the scores; other releases of lm-eval have other prompts."""
    loading = cell.loading
    return identity.request(
        KIND,
        cell.setting.checkpoint,
        cell.setting.rope,
        backend=loading.backend,
        dtype=loading.dtype,
        tasks=[wanted.task],
        limit=wanted.limit,
        num_fewshot=wanted.num_fewshot,
        max_length=wanted.max_length,
        batch_size=wanted.batch_size,
        metadata=wanted.metadata,
        chunk_size=loading.chunk_size,
        device=loading.device,
        trust_remote_code=loading.trust_remote_code,
        lm_eval=importlib.metadata.version("lm-eval"),
        laws=resolved_laws(cell.setting.checkpoint, cell.setting.rope),
    )
