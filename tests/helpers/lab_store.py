"""A laboratory's store whose answers are known, for the tests of what is read from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rope_eval import theory
from rope_eval.labels import base_label
from rope_eval.results.store import Run, Store, run_key
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws.reading import read_laboratory
from studies.scaling_laws.runs import Laboratory

TRAIN, HEAD_DIM, SETS, DOCUMENTS = 128, 64, 3, 12
LENGTHS = [round(32 * 2 ** (k / 8)) for k in range(57)]
PROBES = [32, 64, 128, 256, 512, 1024, 2048]
EDGES = sorted({0, *(round(2 ** (k / 2)) for k in range(23))})
LOSS = 1.5  # nats a token where the context is held
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


def put(
    store: Store,
    kind: str,
    recipe: dict[str, Any],
    arrays: dict[str, npt.NDArray[Any]],
    *,
    method: str = "as trained",
    rope: dict[str, Any] | None = None,
    grid: str = "lab",
    started: str = "2025-01-01T00:00:00+00:00",
    sha: str = "aa",
    fingerprint: str = "f0",
    error: str | None = None,
    **request: Any,
) -> Run:
    wanted = {
        "kind": kind,
        "checkpoint": recipe["name"],
        "fingerprint": fingerprint,
        "recipe": recipe,
        "grid": grid,
        "head_dim": HEAD_DIM,
        "rope": recipe["rope"] | (rope or {}),
        "method": method,
        "text": {
            "source": "stdlib",
            "sha256": sha,
            "sets": SETS,
            "documents": DOCUMENTS,
            "tokens": 4096,
        },
    } | request
    run = Run(
        key=run_key(wanted),
        kind=kind,
        status="failed" if error else "done",
        request=wanted,
        results={},
        provenance={"started": started},
        error=error,
    )
    return store.put(run, {} if error else arrays)


def put_curve(
    store: Store,
    recipe: dict[str, Any],
    local: Local,
    *,
    noise: float = 0.0,
    lengths: Sequence[int] = LENGTHS,
    **fields: Any,
) -> Run:
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
    return put(store, "lab-curve", recipe, arrays, lengths=list(lengths), **fields)


def put_method(store: Store, one: dict[str, Any], method: str, local: Local, **rope: Any) -> None:
    put_curve(store, one, local, method=method, rope=rope)


def put_window(
    store: Store,
    recipe: dict[str, Any],
    nll: npt.NDArray[np.float64],
    lengths: Sequence[int] = LENGTHS,
    **fields: Any,
) -> Run:
    """Store what the same tokens cost in windows that tuning has shown."""
    arrays = {"nll": nll.astype(np.float32), "hits": np.zeros(nll.shape, dtype=np.int32)}
    return put(store, "lab-window", recipe, arrays, lengths=list(lengths), **fields)


def step(at: float, height: float = 1.0, loss: float = LOSS) -> Local:
    """Return a loss that steps up past a position."""
    return lambda t: np.where(t >= at, loss + height, loss)


def put_retrieval(
    store: Store, recipe: dict[str, Any], until: float, samples: int = 60, **fields: Any
) -> Run:
    """Store marks that are right up to a length, and one in ten beyond."""
    right = np.zeros((samples, len(PROBES), 2), dtype=bool)
    right[:, np.array(PROBES) <= until] = True
    right[::10] = True
    nll = np.where(right, 0.1, 2 * math.log(10)).astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {"right": right, "nll": nll}
    request = {"lengths": PROBES, "depths": [0.0, 0.5], "samples": samples}
    return put(store, "lab-retrieval", recipe, arrays, **request, **fields)


def put_attention(
    store: Store, recipe: dict[str, Any], beyond: Local, documents: int = 6, **fields: Any
) -> Run:
    """Store scores that fall from 2 to 1 before the critical dimension, and are given beyond."""
    first = np.array(EDGES[:-1], dtype=np.float64)
    last = np.array(EDGES[1:], dtype=np.float64) - 1
    counts = np.round((last - first + 1) * 1000).astype(np.int64)
    middle = (first + last) / 2
    means = np.stack([1 + 1 / (1 + middle), beyond(middle)])
    scale = 1 + 0.01 * np.arange(documents)[:, None, None]
    sums = scale * means * counts
    arrays = {"sums": sums, "squares": sums**2, "counts": counts}
    return put(store, "lab-attention", recipe, arrays, bin_edges=EDGES, **fields)


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


def whole_store(store: Store, grid: str = "lab", train: int = TRAIN) -> None:
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
        put_curve(store, made, rise(at, speed), noise=0.5, lengths=lengths, grid=grid)
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
                grid=grid,
                method=method,
                rope={"beyond_critical": method},
            )
    kinds: dict[str, dict[str, Any]] = {
        "log": {"log_scale": True},
        "log+xpos": {"log_scale": True, "xpos": True},
        "ntk": {"dynamic_ntk": "per_query"},
        "ntk+log": {"dynamic_ntk": "per_query", "log_scale": True},
        "ntk+log+xpos": {"dynamic_ntk": "per_query", "log_scale": True, "xpos": True},
        "ntk per_sequence": {"dynamic_ntk": "per_sequence"},
        "log (wrong)": {"log_scale": True, "reference_length": "train"},
        "ntk (wrong)": {"dynamic_ntk": "per_query", "reference_length": "train"},
        "ntk+log (wrong)": {"dynamic_ntk": "per_query", "reference_length": "train"},
    }
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
        for number, (method, rope) in enumerate(kinds.items()):
            if large or "wrong" not in method:
                put_curve(
                    store,
                    made[name],
                    rise(train * (1.2 + 0.3 * number), 0.9 - 0.07 * number),
                    noise=0.5,
                    lengths=lengths,
                    grid=grid,
                    method=method,
                    rope=rope,
                )
    if train != TRAIN:
        return
    for fields in made.values():
        base = fields["rope"]["rope_theta"]
        put_retrieval(store, fields, 256 if base < 1e5 else 512)
    for method, rope in (("PI", {"linear_factor": 8}), ("ReRoPE", {"rerope_window": 32})):
        fields = {"method": method, "rope": rope}
        put_curve(store, made["pretrained"], rise(1000, 1.0), noise=0.5, lengths=lengths, **fields)
        put_retrieval(store, made["pretrained"], 512, **fields)
    for name in ("pretrained", "base-20", "base-1e4", "base-1e5", "base-1e4-512"):
        base = made[name]["rope"]["rope_theta"]
        put_attention(store, made[name], lambda m, b=base: 2 * np.cos(m * b**-0.55))
    for method in ("ntk", "clip"):
        put_attention(store, made["base-1e5"], lambda m: 1 / (1 + m / 50), method=method)
