"""From what was measured to a `Laboratory`: arrays by checkpoint and method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from rope_eval.errors import DataError
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.measured import AXES, Kind, Measured, MeasuredRun
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.recipes.grids import HEAD_DIM, Grid
from studies.scaling_laws.runs import (
    AtDistances,
    Attention,
    Checkpoint,
    Curve,
    Laboratory,
    Retrieval,
)
from studies.scaling_laws.sampling import Floats

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _One:
    """A measurement, as it stands in a table.

    Attributes:
        checkpoint: what was measured.
        run: its run; of needles at several depths one of them.
        axes: the values along each of `AXES`.
        numbers: the numbers over all of these, by their names.
    """

    checkpoint: Checkpoint
    run: MeasuredRun
    axes: tuple[tuple[Any, ...], ...]
    numbers: Mapping[str, Floats]


def read_laboratory(measured: Measured, grid: Grid, name: str = "lab") -> Laboratory:
    """Read the measurements of a grid.

    Args:
        measured: of `tables.open_measured`.
        grid: whose they are.
        name: of the grid.

    Raises:
        DataError: there are none, their texts differ, or a measurement is not whole.
    """
    checkpoints = _checkpoints(grid)
    runs = {
        (run.kind, run.checkpoint, run.method): run
        for run in measured.runs
        if _is_of(run, checkpoints.get(run.checkpoint))
    }
    curves = [run for run in runs.values() if run.kind in (Kind.CURVE, Kind.WINDOW)]
    if (Kind.CURVE, AS_TRAINED) not in {(run.kind, run.method) for run in curves}:
        raise DataError(
            f"{measured.place} has no {AS_TRAINED!r} curves of the grid {name!r}: run the study's "
            "plan first, `rope-eval run studies/scaling_laws/plan.yaml`"
        )

    def read(kind: Kind, make: Callable[[_One], T]) -> dict[tuple[str, str], T]:
        found: dict[tuple[str, str], T] = {}
        for run, table in _of_kind(measured, kind, runs):
            axes, numbers = _arrays(table, AXES[kind], str(run))
            one = _One(checkpoint=checkpoints[run.checkpoint], run=run, axes=axes, numbers=numbers)
            found[run.checkpoint, run.method] = make(one)
        return found

    laboratory = Laboratory(
        grid=name,
        text=_one_text(curves),
        curves=read(Kind.CURVE, _curve),
        in_windows=read(Kind.WINDOW, _curve),
        retrieval=read(Kind.RETRIEVAL, _retrieval),
        distances=read(Kind.DISTANCES, _at_distances),
        attention=read(Kind.ATTENTION, _attention),
        failed=measured.failed,
    )
    _check_one_law(laboratory)
    return laboratory


def _checkpoints(grid: Grid) -> dict[str, Checkpoint]:
    return {
        recipe.name: Checkpoint(
            name=recipe.name,
            rope=recipe.rope,
            head_dim=HEAD_DIM,
            seed=recipe.seed,
            tuned=recipe.start_from is not None,
        )
        for recipe in grid.recipes
    }


def _one_text(curves: Sequence[MeasuredRun]) -> dict[str, Any]:
    first = curves[0]
    for run in curves:
        if run.text != first.text:
            raise DataError(
                f"losses in different texts cannot be compared: {first} was measured on "
                f"{_said(first.text)}, {run} on {_said(run.text)}: run the study's plan for all of "
                "them again, or take another store"
            )
    return first.text


def _said(text: Mapping[str, Any]) -> str:
    return f"{text['documents']} documents of {text['source']} ({text['sha256']})"


def _is_of(run: MeasuredRun, checkpoint: Checkpoint | None) -> bool:
    """Tell whether a run is of the checkpoint, and not of another grid's of that name."""
    asked = run.request["rope"].get("train_length")
    return checkpoint is not None and asked == checkpoint.train_length


def _of_kind(
    measured: Measured, kind: Kind, runs: Mapping[tuple[Kind, str, str], MeasuredRun]
) -> Iterator[tuple[MeasuredRun, pd.DataFrame]]:
    """Yield the runs of a kind, with their rows of its table."""
    if kind not in measured.tables:
        return
    named = measured.tables[kind].groupby(["checkpoint", "method"], sort=False, observed=True)
    for (checkpoint, method), table in named:
        run = runs.get((kind, str(checkpoint), str(method)))
        if run is not None:
            yield run, table


def _arrays(
    table: pd.DataFrame, names: Sequence[str], where: str
) -> tuple[tuple[tuple[Any, ...], ...], dict[str, Floats]]:
    """Return the values along each axis, and the numbers over them."""
    found = [pd.factorize(table[name], sort=True) for name in names]
    places, values = [place for place, _ in found], [value for _, value in found]
    shape = tuple(map(len, values))
    flat = np.ravel_multi_index(places, shape)
    if len(flat) != math.prod(shape) or (np.bincount(flat) != 1).any():
        wanted = " × ".join(f"{n} {name}s" for n, name in zip(shape, names, strict=True))
        raise DataError(f"{where} is not whole: {len(flat)} rows are no {wanted}")
    order = np.argsort(flat)
    numbers = {
        str(name): column.to_numpy(dtype=np.float64)[order].reshape(shape)
        for name, column in table.items()
        if name not in ("checkpoint", "method", *names)
    }
    return tuple(tuple(v.tolist()) for v in values), numbers


def _curve(one: _One) -> Curve:
    nll = one.numbers["nll"]
    return Curve(
        checkpoint=one.checkpoint,
        method=one.run.method,
        rope=RopeSpec.from_dict(one.run.request["rope"]),
        lengths=one.axes[1],
        nll=nll,
        hits=one.numbers.get("hits", np.full_like(nll, np.nan)),
    )


def _retrieval(one: _One) -> Retrieval:
    return Retrieval(
        checkpoint=one.checkpoint,
        method=one.run.method,
        lengths=one.axes[1],
        depths=one.axes[2],
        right=one.numbers["right"],
        nll=one.numbers["nll"],
    )


def _at_distances(one: _One) -> AtDistances:
    return AtDistances(
        checkpoint=one.checkpoint,
        method=one.run.method,
        distance=one.numbers["distance"].astype(np.int64),
        right=one.numbers["right"],
        nll=one.numbers["nll"],
    )


def _attention(one: _One) -> Attention:
    counts = one.numbers["counts"][0, 0]
    reached = int((counts > 0).sum())
    if not counts[:reached].all():
        raise DataError(f"{one.run}: a bin without scores lies among bins that have some")
    edges = np.array([*one.axes[2], one.run.last_edge], dtype=np.int64)
    return Attention(
        checkpoint=one.checkpoint,
        method=one.run.method,
        edges=edges[: reached + 1],
        sums=one.numbers["sums"][:, :, :reached],
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
