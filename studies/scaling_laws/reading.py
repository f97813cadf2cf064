"""From stored or packed runs to a `Laboratory`: the newest of each measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rope_eval.errors import DataError
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.measurements import AS_TRAINED, Kind
from studies.scaling_laws.runs import Attention, Checkpoint, Curve, Laboratory, Retrieval
from studies.scaling_laws.sampling import Floats
from studies.scaling_laws.tables import Tables

T = TypeVar("T")


def read_laboratory(source: Store | Tables, grid: str = "lab") -> Laboratory:
    """Read the measurements of a grid.

    Raises:
        DataError: there are none, their texts differ, or a run's arrays are not of its request.
        StoreError: the store is damaged.
    """
    runs = newest_runs(source, grid)
    done = [run for run in runs if run.status == "done"]
    curves = [run for run in done if run.kind in (Kind.CURVE, Kind.WINDOW)]
    if (Kind.CURVE, AS_TRAINED) not in {(run.kind, run.request["method"]) for run in curves}:
        raise DataError(
            f"{source.root} has no {AS_TRAINED!r} curves of the grid {grid!r}: run "
            "`rope-eval lab measure` first"
        )
    laboratory = Laboratory(
        grid=grid,
        text=_one_text(curves),
        curves=_read(source, done, Kind.CURVE, _curve),
        in_windows=_read(source, done, Kind.WINDOW, _curve),
        retrieval=_read(source, done, Kind.RETRIEVAL, _retrieval),
        attention=_read(source, done, Kind.ATTENTION, _attention),
        failed=tuple(
            f"{run.kind} of {run.request['checkpoint']} ({run.request['method']}): {run.error}"
            for run in runs
            if run.status == "failed"
        ),
    )
    _check_one_law(laboratory)
    return laboratory


def newest_runs(source: Store | Tables, grid: str) -> list[Run]:
    """Return a grid's runs, of each measurement the newest.

    Runs of a checkpoint that has since been made again, with other weights, are left out.
    """
    runs = [r for r in source.runs() if r.kind in set(Kind) and r.request.get("grid") == grid]
    weights = {run.request["checkpoint"]: run.request["fingerprint"] for run in runs}
    runs = [r for r in runs if r.request["fingerprint"] == weights[r.request["checkpoint"]]]
    newest = {(r.kind, r.request["checkpoint"], r.request["method"]): r for r in runs}
    return list(newest.values())


def _read(
    source: Store | Tables, done: Sequence[Run], kind: Kind, reader: Callable[..., T]
) -> dict[tuple[str, str], T]:
    return {
        (run.request["checkpoint"], run.request["method"]): reader(run, source.arrays(run.key))
        for run in done
        if run.kind == kind
    }


def _one_text(curves: list[Run]) -> dict[str, Any]:
    text: dict[str, Any] = curves[0].request["text"]
    for run in curves:
        if run.request["text"] != text:
            one, other = curves[0].request, run.request
            raise DataError(
                f"curves of different texts cannot be compared: {one['checkpoint']} "
                f"({one['method']}) was measured on {_text(one)}, {other['checkpoint']} "
                f"({other['method']}) on {_text(other)}: run `rope-eval lab measure` for all "
                "of them again, or take another store"
            )
    return text


def _text(request: dict[str, Any]) -> str:
    text = request["text"]
    return f"{text['documents']} documents of {text['source']} ({text['sha256']})"


def _checkpoint(run: Run) -> Checkpoint:
    recipe = run.request["recipe"]
    rope = RopeSpec.from_dict(recipe["rope"])
    if rope.rope_theta is None or rope.train_length is None:
        raise DataError(f"run {run.key}: its recipe says no rope_theta or no train_length")
    return Checkpoint(
        name=run.request["checkpoint"],
        rope=rope,
        head_dim=run.request["head_dim"],
        seed=recipe["seed"],
        tuned=recipe["start_from"] is not None,
    )


def _shaped(run: Run, arrays: dict[str, npt.NDArray[Any]], name: str, *shape: int) -> Floats:
    array = arrays.get(name)
    if array is None or array.shape != shape:
        found = "is missing" if array is None else f"has the shape {array.shape}"
        raise DataError(f"run {run.key}: its array {name!r} {found}, want {shape}")
    return array.astype(np.float64)


def _curve(run: Run, arrays: dict[str, npt.NDArray[Any]]) -> Curve:
    shape = run.request["text"]["documents"], len(run.request["lengths"])
    return Curve(
        checkpoint=_checkpoint(run),
        method=run.request["method"],
        rope=RopeSpec.from_dict(run.request["rope"]),
        lengths=tuple(run.request["lengths"]),
        nll=_shaped(run, arrays, "nll", *shape),
        hits=_shaped(run, arrays, "hits", *shape),
    )


def _retrieval(run: Run, arrays: dict[str, npt.NDArray[Any]]) -> Retrieval:
    lengths, depths = tuple(run.request["lengths"]), tuple(run.request["depths"])
    shape = run.request["samples"], len(lengths), len(depths)
    return Retrieval(
        checkpoint=_checkpoint(run),
        method=run.request["method"],
        lengths=lengths,
        depths=depths,
        right=_shaped(run, arrays, "right", *shape),
        nll=_shaped(run, arrays, "nll", *shape),
    )


def _attention(run: Run, arrays: dict[str, npt.NDArray[Any]]) -> Attention:
    edges = np.asarray(run.request["bin_edges"], dtype=np.int64)
    documents = len(arrays["sums"]) if "sums" in arrays else 0
    sums = _shaped(run, arrays, "sums", documents, 2, len(edges) - 1)
    counts = _shaped(run, arrays, "counts", len(edges) - 1)
    reached = int((counts > 0).sum())
    if not counts[:reached].all():
        raise DataError(f"run {run.key}: a bin without scores lies among bins that have some")
    return Attention(
        checkpoint=_checkpoint(run),
        method=run.request["method"],
        edges=edges[: reached + 1],
        sums=sums[:, :, :reached],
        counts=counts[:reached],
    )


def _check_one_law(laboratory: Laboratory) -> None:
    """Refuse a grid whose checkpoints do not come from one pre-training."""
    laws = {
        (c.checkpoint.train_length, c.checkpoint.pretrain_theta, c.checkpoint.head_dim)
        for c in laboratory.curves.values()
    }
    if len(laws) > 1:
        raise DataError(
            f"the grid {laboratory.grid!r} mixes (train_length, pretrain_theta, head_dim) of "
            f"{sorted(laws)}: one grid has one pre-training"
        )
