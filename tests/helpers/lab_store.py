"""A laboratory's store whose answers are known, for the tests of what is read from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval import theory
from rope_eval.data.distances import Distances
from rope_eval.labels import base_label
from rope_eval.results.samples import arrays_of
from rope_eval.results.store import Run, Store, run_key
from rope_eval.rope.spec import RopeSpec
from rope_eval.tuning.recipe import Recipe
from studies.scaling_laws import reading
from studies.scaling_laws.measured import DISTANCES_TASK, TASK, Kind, measured_in
from studies.scaling_laws.names import ALSO_WRONG, METHODS, WRONG, settings_of
from studies.scaling_laws.recipes.grids import GRIDS
from studies.scaling_laws.runs import Laboratory

TRAIN, HEAD_DIM, SETS, DOCUMENTS = 128, 64, 3, 12
LENGTHS = [round(32 * 2 ** (k / 8)) for k in range(57)]
PROBES = [32, 64, 128, 256, 512, 1024, 2048]
EDGES = sorted({0, *(round(2 ** (k / 2)) for k in range(23))})
LOSS = 1.5  # nats a token where the context is held
_RECIPES: dict[str, dict[str, dict[str, Any]]] = {}  # of the checkpoints in each store
Local = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def recipe(
    name: str,
    base: float,
    tune: int | None = None,
    *,
    train: int = TRAIN,
    seed: int = 0,
    beyond: Any = "keep",
) -> dict[str, Any]:
    rope = RopeSpec(rope_theta=base, train_length=train, tune_length=tune, beyond_critical=beyond)
    return {
        "name": name,
        "rope": rope.to_dict(),
        "start_from": "pretrained" if tune else None,
        "steps": 400,
        "batch_size": 32,
        "learning_rate": 5e-4,
        "schedule": "constant",
        "warmup_steps": 0,
        "max_grad_norm": 1.0,
        "seed": seed,
    }


def read_laboratory(store: Store, grid: str = "lab") -> Laboratory:
    """Read what was put into a store, as of a grid of the checkpoints that it is of."""
    recipes = _RECIPES.get(str(store.root), {}).values()
    own = replace(GRIDS[grid], recipes=tuple(map(Recipe.from_dict, recipes)))
    return reading.read_laboratory(measured_in(store, own), own, grid)


def put(
    store: Store,
    kind: Kind,
    recipe: dict[str, Any],
    arrays: dict[str, npt.NDArray[Any]],
    *,
    method: str = "as trained",
    started: str = "2025-01-01T00:00:00+00:00",
    sha: str = "aa",
    fingerprint: str = "f0",
    error: str | None = None,
    **asked: Any,
) -> None:
    """Store what a plan stores: of needles a run a depth.

    Args:
        store: to put it into.
        kind: of measurement.
        recipe: of the checkpoint.
        arrays: of the numbers, over the axes of the kind.
        method: its name in the study.
        started: when.
        sha: of the documents.
        fingerprint: of the weights.
        error: why it failed.
        **asked: lengths, or depths.
    """
    trained = RopeSpec.from_dict(recipe["rope"])
    _RECIPES.setdefault(str(store.root), {})[recipe["name"]] = recipe
    request = {
        "model": recipe["name"],
        "fingerprint": fingerprint,
        "rope": settings_of(trained)[method].to_dict(),
        "backend": "hf",
        "dtype": "float32",
    }
    for more, results, kept in _STORED[kind](arrays, sha, **asked):
        wanted = request | more
        run = Run(
            key=run_key(wanted),
            kind=wanted["kind"],
            status="failed" if error else "done",
            request=wanted,
            results={} if error else results,
            provenance={"started": started},
            error=error,
        )
        store.put(run, {} if error else kept)


Stored = tuple[dict[str, Any], dict[str, Any], dict[str, npt.NDArray[Any]]]


def _books(documents: int, sha: str) -> dict[str, Any]:
    named = [{"name": f"piece-{i:02}", "sha256": f"{sha}{i}"} for i in range(documents)]
    return {"books": "held-out.jsonl", "documents": named}


def _curve(arrays: Any, sha: str, lengths: Sequence[int]) -> Iterator[Stored]:
    rows = [
        [
            {"nll": float(nll), "hits": int(hits), "tokens": length - 1}
            for nll, hits, length in zip(*row, lengths, strict=True)
        ]
        for row in zip(arrays["nll"], arrays["hits"], strict=True)
    ]
    asked = {"kind": "cumulative", "lengths": list(lengths), **_books(len(rows), sha)}
    yield asked, {"by_document": rows, "failed": []}, {}


def _window(arrays: Any, sha: str, lengths: Sequence[int]) -> Iterator[Stored]:
    sums = arrays["nll"]
    nll = np.zeros((len(sums), lengths[-1] - 1), dtype=np.float32)
    nll[:, np.array(lengths) - 2] = np.diff(sums, axis=1, prepend=0)
    asked = {"kind": "in_window", "length": lengths[-1], "window": TRAIN, **_books(len(sums), sha)}
    yield asked, {}, {"nll": nll}


def _retrieval(
    arrays: Any, sha: str, lengths: Sequence[int], depths: Sequence[float]
) -> Iterator[Stored]:
    names = [f"{i}:aa" for i in range(len(arrays["right"]))]
    for d, depth in enumerate(depths):
        columns: dict[str, dict[str, Any]] = {}
        for k, length in enumerate(lengths):
            right, nll = (arrays[name][:, k, d] for name in ("right", "nll"))
            columns[f"greedy@{length},none"] = dict(zip(names, map(float, right), strict=True))
            sums = [(float(one), 0, 2) for one in nll]
            columns[f"nll@{length},none"] = dict(zip(names, sums, strict=True))
        kept = {f"{TASK}/{name}": array for name, array in arrays_of(columns, names).items()}
        metadata = {"depths": [depth], "lengths": list(lengths), "samples": len(names)}
        asked = {"kind": "lm_eval", "tasks": [TASK], "metadata": metadata}
        yield asked, {"tasks": {TASK: {"samples": sorted(columns)}}}, kept


def _distances(arrays: Any, sha: str, *, distances: Distances) -> Iterator[Stored]:
    columns: dict[str, dict[str, Any]] = {}
    names = [f"{i}:aa" for i in range(distances.samples)]
    for name, distance, right, nll in zip(
        names, distances.drawn, arrays["right"], arrays["nll"], strict=True
    ):
        end = distances.end_of(distance)
        columns.setdefault(f"greedy@{end},none", {})[name] = float(right)
        columns.setdefault(f"nll@{end},none", {})[name] = (float(nll), 0, 2)
    task = DISTANCES_TASK
    kept = {f"{task}/{name}": array for name, array in arrays_of(columns, names).items()}
    metadata = {
        "distances": [distances.shortest, distances.longest],
        "bins": distances.bins,
        "samples": distances.samples,
        "probe_seed": distances.seed,
    }
    results = {"tasks": {task: {"samples": sorted(columns), "metadata": metadata}}}
    yield {"kind": "lm_eval", "tasks": [task], "metadata": {}}, results, kept


def _attention(arrays: Any, sha: str) -> Iterator[Stored]:
    asked = {"kind": "attention", "length": EDGES[-1] + 1, **_books(len(arrays["sums"]), sha)}
    yield asked, {}, {**arrays, "bin_edges": np.array(EDGES)}


_STORED: dict[Kind, Callable[..., Iterator[Stored]]] = {
    Kind.CURVE: _curve,
    Kind.WINDOW: _window,
    Kind.RETRIEVAL: _retrieval,
    Kind.DISTANCES: _distances,
    Kind.ATTENTION: _attention,
}


def put_curve(
    store: Store,
    recipe: dict[str, Any],
    local: Local,
    *,
    noise: float = 0.0,
    lengths: Sequence[int] = LENGTHS,
    **fields: Any,
) -> None:
    """Store a curve whose token at position t has the loss local(t), and noise a document."""
    positions = np.arange(1, lengths[-1], dtype=np.float64)
    loss = np.cumsum(local(positions))
    at = np.array(lengths) - 1
    rng = np.random.default_rng(7)  # the same for all: documents are paired
    hard = rng.normal(0, noise, (DOCUMENTS, 1)) * np.sqrt(at)
    nll = (loss[at - 1] + hard).astype(np.float32)
    hits = np.floor(at * 0.5 * np.exp(-(nll / at - LOSS) / 2)).clip(0).astype(np.int32)
    arrays = {"nll": nll, "hits": hits}
    if "method" not in fields:
        rope = recipe["rope"]
        tune = rope.get("tune_length") or rope["train_length"]
        near = np.where(positions < tune, positions, 0.75 * tune)
        shown = np.cumsum(local(near))[at - 1] + hard
        put_window(store, recipe, shown, lengths, **fields)
    put(store, Kind.CURVE, recipe, arrays, lengths=list(lengths), **fields)


def put_method(store: Store, one: dict[str, Any], method: str, local: Local) -> None:
    put_curve(store, one, local, method=method)


def put_window(
    store: Store,
    recipe: dict[str, Any],
    nll: npt.NDArray[np.float64],
    lengths: Sequence[int] = LENGTHS,
    **fields: Any,
) -> None:
    """Store what the same tokens cost in windows that tuning has shown."""
    arrays = {"nll": nll.astype(np.float32), "hits": np.zeros(nll.shape, dtype=np.int32)}
    put(store, Kind.WINDOW, recipe, arrays, lengths=list(lengths), **fields)


def step(at: float, height: float = 1.0, loss: float = LOSS) -> Local:
    """Return a loss that steps up past a position."""
    return lambda t: np.where(t >= at, loss + height, loss)


def put_retrieval(
    store: Store, recipe: dict[str, Any], until: float, samples: int = 60, **fields: Any
) -> None:
    """Store marks that are right up to a length, and one in ten beyond."""
    right = np.zeros((samples, len(PROBES), 2), dtype=bool)
    right[:, np.array(PROBES) <= until] = True
    right[::10] = True
    nll = np.where(right, 0.1, 2 * math.log(10)).astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {"right": right, "nll": nll}
    put(store, Kind.RETRIEVAL, recipe, arrays, lengths=PROBES, depths=[0.0, 0.5], **fields)


def put_distances(
    store: Store, recipe: dict[str, Any], finds: Callable[[int], bool], longest: int = 215
) -> Distances:
    """Store needles that are found at some distances of 24 and more, and return what was drawn."""
    drawn = Distances(shortest=24, longest=longest, samples=2 * (longest - 23), bins=8, seed=0)
    right = np.array([finds(distance) for distance in drawn.drawn])
    nll = np.where(right, 0.1, 2 * math.log(10)).astype(np.float32)
    put(store, Kind.DISTANCES, recipe, {"right": right, "nll": nll}, distances=drawn)
    return drawn


def put_attention(
    store: Store, recipe: dict[str, Any], beyond: Local, documents: int = 6, **fields: Any
) -> None:
    """Store scores that fall from 2 to 1 before the critical dimension, and are given beyond."""
    first = np.array(EDGES[:-1], dtype=np.float64)
    last = np.array(EDGES[1:], dtype=np.float64) - 1
    counts = np.round((last - first + 1) * 1000).astype(np.int64)
    middle = (first + last) / 2
    means = np.stack([1 + 1 / (1 + middle), beyond(middle)])
    scale = 1 + 0.01 * np.arange(documents)[:, None, None]
    sums = scale * means * counts
    arrays = {"sums": sums, "squares": sums**2, "counts": counts}
    put(store, Kind.ATTENTION, recipe, arrays, **fields)


def laboratory_of(store: Store, at: dict[tuple[float, int], float], **fields: Any) -> Laboratory:
    """Store checkpoints by (base, T_tune) whose loss steps up at a length, and read them."""
    for (base, tune), length in at.items():
        put_curve(store, recipe(f"base-{base:g}-{tune}", base, tune), step(length), **fields)
    return read_laboratory(store)


def only(found: Sequence[Any]) -> Any:
    (one,) = found
    return one


def law(base: float, tune: int) -> float:
    return theory.extrapolation_bound(base, head_dim=HEAD_DIM, train_length=TRAIN, tune_length=tune)


def whole_store(store: Store, train: int = TRAIN) -> None:
    """Store what a small grid gives: flat up to a bound, then a rise."""
    lengths = [round(train / 4 * 2 ** (k / 8)) for k in range(57)]

    def rise(at: float, speed: float, most: float = 3.0) -> Local:
        return lambda t: (
            LOSS + 0.6 * (1 + t / 16) ** -0.5 + (speed * np.log(t / at).clip(0)).clip(0, most)
        )

    def one(
        name: str, base: float, tune: int | None, at: float, speed: float, **fields: Any
    ) -> Any:
        made = recipe(name, base, tune, train=train, **fields)
        put_curve(store, made, rise(at, speed), noise=0.5, lengths=lengths)
        return made

    def bound_of(base: float, tune: int) -> float:
        return theory.extrapolation_bound(
            base, head_dim=HEAD_DIM, train_length=train, tune_length=tune
        )

    made = {"pretrained": one("pretrained", 1e4, None, train * 1.1, 1.6)}
    for base in (10.0, 20.0, 41.0, 81.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6):
        speed = 0.12 * math.log(base / 5) if base < 1e4 else 1.5
        name = f"base-{base_label(base)}"
        made[name] = one(name, base, train, bound_of(base, train) * 1.05, speed)
    for base in (81.0, 326.0, 1e4, 7e5, 1e7):
        name = f"base-{base_label(base)}-{4 * train}"
        made[name] = one(name, base, 4 * train, bound_of(base, 4 * train) * 1.1, 1.2)
    for base in (20.0, 1e4):
        for seed in (1, 2):
            name = f"base-{base_label(base)}-seed{seed}"
            one(name, base, train, train * (1 + 0.1 * seed), 1.3, seed=seed)
    made["base-1e4-drop"] = one("base-1e4-drop", 1e4, train, 3 * train, 0.7, beyond="drop")
    for name in ("pretrained", "base-1e4", "base-1e5"):
        for method, at in (("clip", 2.0), ("drop", 0.6)):
            put_curve(
                store,
                made[name],
                rise(at * train, 1.0),
                noise=0.5,
                lengths=lengths,
                method=method,
            )
    inference = [name for name, fields in METHODS.items() if "beyond_critical" not in fields]
    inference += [name + WRONG for name in ALSO_WRONG]
    for name in (
        "pretrained",
        "base-1e4",
        "base-1e4-drop",
        "base-20",
        "base-81",
        "base-300",
        "base-3e4",
        "base-1e5",
        "base-3e5",
    ):
        large = made[name]["rope"]["rope_theta"] > 1e4
        for number, method in enumerate(inference):
            if large or "wrong" not in method:
                put_curve(
                    store,
                    made[name],
                    rise(train * (1.2 + 0.3 * number), 0.9 - 0.07 * number),
                    noise=0.5,
                    lengths=lengths,
                    method=method,
                )
    if train != TRAIN:
        return
    for fields in made.values():
        base = fields["rope"]["rope_theta"]
        put_retrieval(store, fields, 256 if base < 1e5 else 512)
        if base in (20, 1e4):
            put_distances(store, fields, lambda distance: distance < 100)
    for method in ("PI", "ReRoPE"):
        curve = {"noise": 0.5, "lengths": lengths, "method": method}
        put_curve(store, made["pretrained"], rise(1000, 1.0), **curve)
        put_retrieval(store, made["pretrained"], 512, method=method)
    for name in ("pretrained", "base-20", "base-1e4", "base-1e5", "base-1e4-512"):
        base = made[name]["rope"]["rope_theta"]
        put_attention(store, made[name], lambda m, b=base: 2 * np.cos(m * b**-0.55))
    for method in ("ntk", "clip"):
        put_attention(store, made["base-1e5"], lambda m: 1 / (1 + m / 50), method=method)
