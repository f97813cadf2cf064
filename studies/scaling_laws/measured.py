"""What was measured of a grid, by the study's names: its runs, and a table for each kind.

A store's runs are those of the study's plan; `tables` has the same from files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from rope_eval.data.distances import Distances
from rope_eval.errors import StoreError
from rope_eval.files import Place
from rope_eval.results.items import items
from rope_eval.results.store import Run, Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring.attention_profile import PARTS
from studies.scaling_laws.names import SETS, name_of
from studies.scaling_laws.recipes.grids import Grid

TASK, DISTANCES_TASK = "lab_retrieval", "lab_retrieval_distances"


class Kind(StrEnum):
    """What a measurement is of: the name of its table."""

    CURVE = "lab-curve"
    WINDOW = "lab-window"
    RETRIEVAL = "lab-retrieval"
    DISTANCES = "lab-distances"
    ATTENTION = "lab-attention"


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "cumulative": Kind.CURVE,
        "in_window": Kind.WINDOW,
        "attention": Kind.ATTENTION,
    }
)
"""Of the runs of a plan, but for those of `TASKS`."""

TASKS: Mapping[str, Kind] = MappingProxyType({TASK: Kind.RETRIEVAL, DISTANCES_TASK: Kind.DISTANCES})
"""The tasks of lm-eval that are of the study."""

AXES: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        Kind.CURVE: ("document", "length"),
        Kind.WINDOW: ("document", "length"),
        Kind.RETRIEVAL: ("sample", "length", "depth"),
        Kind.DISTANCES: ("sample",),
        Kind.ATTENTION: ("document", "part", "distance"),
    }
)
"""What the numbers of a kind are over; distance is the least of a bin."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class MeasuredRun:
    """A run of the grid; request, results and provenance are as they were stored.

    Attributes:
        key: of the run.
        kind: of measurement.
        checkpoint: its recipe's name.
        method: the name of its setting.
    """

    key: str
    kind: Kind
    checkpoint: str
    method: str
    request: Mapping[str, Any]
    results: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def text(self) -> dict[str, Any]:
        """What losses were measured on: source, sha256, sets, documents and tokens."""
        if "text" in self.request:  # it was measured before the study was a plan
            return dict(self.request["text"])
        documents = "".join(document["sha256"] for document in self.request["documents"])
        lengths = self.request.get("lengths") or [self.request["length"]]
        return {
            "source": self.request["books"],
            "sha256": hashlib.sha256(documents.encode()).hexdigest(),
            "sets": SETS,
            "documents": len(self.request["documents"]),
            "tokens": lengths[-1],
        }

    @property
    def last_edge(self) -> int:
        """Where the last bin of attention's distances ends."""
        edges = self.request.get("bin_edges") or [self.request["length"] - 1]  # as above
        return int(edges[-1])

    @property
    def depth(self) -> float | None:
        """Where the needles of a run of retrieval stand: each depth is a run of its own."""
        depths = self.request.get("metadata", {}).get("depths", [])
        return float(depths[0]) if len(depths) == 1 else None

    def __str__(self) -> str:
        return f"{self.kind} of {self.checkpoint} ({self.method})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a place has of a grid, the newest of each measurement.

    Attributes:
        place: where it is from.
        runs: those that are done.
        tables: a row a number, with the columns checkpoint, method, those of `AXES`, and the
            numbers: nll (nats) and hits; right and nll; distance, right and nll; sums, squares and
            counts.
        failed: a line for each run that failed.
    """

    place: Place
    runs: tuple[MeasuredRun, ...]
    tables: Mapping[Kind, pd.DataFrame]
    failed: tuple[str, ...] = ()


def measured_in(store: Store, grid: Grid) -> Measured:
    """Return what a store has of a grid: runs of its checkpoints, by their folders' names.

    Runs of a checkpoint that has since been made again, with other weights, are left out.

    Raises:
        StoreError: the store is damaged.
    """
    trained = {recipe.name: recipe.rope for recipe in grid.recipes}
    runs = [(run, one) for run in store.runs() if (one := _named(run, trained)) is not None]
    weights = {one.checkpoint: one.request["fingerprint"] for _, one in runs}
    newest = {
        (one.kind, one.checkpoint, one.method, one.depth): (_why_not(run), one)
        for run, one in runs
        if one.request["fingerprint"] == weights[one.checkpoint]
    }
    done = tuple(one for why_not, one in newest.values() if not why_not)
    return Measured(
        place=store.root,
        runs=done,
        tables=_tables(store, done),
        failed=tuple(f"{one}: {why_not}" for why_not, one in newest.values() if why_not),
    )


def _named(run: Run, trained: Mapping[str, RopeSpec]) -> MeasuredRun | None:
    """Return a run by the study's names, None for one that is not of the grid."""
    kind, checkpoint = _kind(run), run.request.get("model", "")
    if kind is None or checkpoint not in trained:
        return None
    method = name_of(RopeSpec.from_dict(run.request["rope"]), trained[checkpoint])
    if method is None:
        return None
    return MeasuredRun(
        key=run.key,
        kind=kind,
        checkpoint=checkpoint,
        method=method,
        request=run.request,
        results=run.results,
        provenance=run.provenance,
    )


def _kind(run: Run) -> Kind | None:
    if run.kind != "lm_eval":
        return KINDS.get(run.kind)
    tasks = run.request.get("tasks", [])
    return TASKS.get(tasks[0]) if len(tasks) == 1 else None


def _why_not(run: Run) -> str:
    """Return why a run has not all its numbers, or nothing."""
    return run.error or "; ".join(one["error"] for one in run.results.get("failed", []))


def _tables(store: Store, runs: Sequence[MeasuredRun]) -> dict[Kind, pd.DataFrame]:
    numbers = items(store)
    by_run = dict(iter(numbers.groupby("key", observed=True, sort=False)))
    found: dict[Kind, list[pd.DataFrame]] = {}
    for run in runs:
        if run.key not in by_run and run.kind != Kind.ATTENTION:
            continue  # windows without the curve that says at which lengths
        rows = _READERS[run.kind](store, run, by_run.get(run.key, numbers.iloc[:0]))
        rows.insert(0, "checkpoint", run.checkpoint)
        rows.insert(1, "method", run.method)
        found.setdefault(run.kind, []).append(rows)
    return {kind: pd.concat(tables, ignore_index=True) for kind, tables in found.items()}


def _losses(store: Store, run: MeasuredRun, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return nats by document and length, and hits of whole books."""
    numbers = numbers.assign(
        document=numbers.groupby(["metric", "length"], observed=True).cumcount()
    )
    wide = numbers.pivot(index=["document", "length"], columns="metric", values="sum")
    wide = wide.rename(columns={"perplexity": "nll", "accuracy": "hits"}).reset_index()
    return wide.reindex(columns=[*AXES[run.kind], *(c for c in ("nll", "hits") if c in wide)])


def _marks(store: Store, run: MeasuredRun, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return whether an answer was the greedy one, and its nats, of the one depth of a run."""
    answers = _answers(numbers, ["sample", "length"]).assign(depth=run.depth)
    return answers[[*AXES[run.kind], "right", "nll"]]


def _at_distances(store: Store, run: MeasuredRun, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the same of samples with a distance each, which follow from what was asked for."""
    metadata = run.results["tasks"][DISTANCES_TASK]["metadata"]
    shortest, longest = metadata["distances"]
    drawn = Distances(
        shortest=shortest,
        longest=longest,
        samples=metadata["samples"],
        bins=metadata["bins"],
        seed=metadata["probe_seed"],
    ).drawn
    answers = _answers(numbers, ["sample"])
    answers = answers.assign(distance=[drawn[sample] for sample in answers["sample"]])
    return answers[[*AXES[run.kind], "distance", "right", "nll"]]


def _answers(numbers: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return whether each answer was the greedy one, and its nats."""
    names = numbers["metric"].astype(str).str.partition("@")[0]
    numbers = numbers.assign(
        name=names, sample=numbers["item"].astype(str).str.partition(":")[0].astype(int)
    )
    numbers = numbers[names.isin(["greedy", "nll"])]
    wide = numbers.pivot(index=by, columns="name", values="sum").reset_index()
    return wide.rename(columns={"greedy": "right"}).astype({"right": bool})


def _scores(store: Store, run: MeasuredRun, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return sums of attention scores by document, part and bin."""
    arrays = store.arrays(run.key)
    if "sums" not in arrays:
        raise StoreError(
            f"{store.place(run.key)} has no sums by document: it was measured before they were "
            "kept. Delete it, and run the plan again: its documents are put together anew"
        )
    shape = arrays["sums"].shape
    documents, parts, bins = (places.ravel() for places in np.indices(shape))
    return pd.DataFrame(
        {
            "document": documents,
            "part": np.array(PARTS)[parts],
            "distance": arrays["bin_edges"][bins],
            "sums": arrays["sums"].ravel(),
            "squares": arrays["squares"].ravel(),
            "counts": np.broadcast_to(arrays["counts"], shape).ravel(),
        }
    )


_READERS: Mapping[Kind, Callable[[Store, MeasuredRun, pd.DataFrame], pd.DataFrame]] = (
    MappingProxyType(
        {
            Kind.CURVE: _losses,
            Kind.WINDOW: _losses,
            Kind.RETRIEVAL: _marks,
            Kind.DISTANCES: _at_distances,
            Kind.ATTENTION: _scores,
        }
    )
)
