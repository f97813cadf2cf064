"""The laboratory's findings, on stores whose answers are known."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rope_eval import theory
from rope_eval.errors import DataError, StoreError
from rope_eval.report.stats import RESAMPLES
from rope_eval.results.store import Run, Store, run_key
from rope_eval.rope.spec import RopeSpec
from studies.scaling_laws import document, finding, scores
from studies.scaling_laws import laboratory as report
from studies.scaling_laws.figures import style
from studies.scaling_laws.findings import (
    attention,
    bases,
    beyond_critical,
    bound,
    comparison,
    contexts,
    critical_base,
    drift,
    kept,
    methods,
    pivots,
    retrieval,
    seeds,
)
from studies.scaling_laws.reading import read_laboratory
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.sampling import Sample

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
    asked = {
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
        key=run_key(asked),
        kind=kind,
        status="failed" if error else "done",
        request=asked,
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


def put_retrieval(store: Store, recipe: dict[str, Any], until: float, samples: int = 60) -> Run:
    """Store marks that are right up to a length, and one in ten beyond."""
    right = np.zeros((samples, len(PROBES), 2), dtype=bool)
    right[:, np.array(PROBES) <= until] = True
    right[::10] = True
    nll = np.where(right, 0.1, 2 * math.log(10)).astype(np.float32)
    arrays: dict[str, npt.NDArray[Any]] = {"right": right, "nll": nll}
    request = {"lengths": PROBES, "depths": [0.0, 0.5], "samples": samples}
    return put(store, "lab-retrieval", recipe, arrays, **request)


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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def laboratory_of(store: Store, at: dict[tuple[float, int], float], **fields: Any) -> Laboratory:
    """Store checkpoints by (base, T_tune) whose loss steps up at a length, and read them."""
    for (base, tune), length in at.items():
        put_curve(store, recipe(f"base-{base:g}-{tune}", base, tune), step(length), **fields)
    return read_laboratory(store)


def only(found: Sequence[Any]) -> Any:
    (one,) = found
    return one


# --- reading --------------------------------------------------------------------------------------


def test_an_empty_store_says_what_to_run(store: Store) -> None:
    with pytest.raises(DataError, match="rope-eval lab measure"):
        read_laboratory(store)
    put_curve(store, recipe("base-20", 20, TRAIN), step(512), method="log")
    with pytest.raises(DataError, match=r"'as trained'.*rope-eval lab measure"):
        read_laboratory(store)
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    with pytest.raises(DataError, match="grid 'gpu'"):
        read_laboratory(store, "gpu")


def test_texts_are_not_mixed(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_curve(store, recipe("base-41", 41, TRAIN), step(512), sha="bb")
    with pytest.raises(DataError, match=r"base-20.*\(aa\).*base-41.*\(bb\)"):
        read_laboratory(store)


def test_the_newest_run_counts(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(512), started="2025-01-02", lengths=LENGTHS)
    put_curve(store, one, step(512), started="2025-01-01", lengths=LENGTHS[:-1])
    curve = only(read_laboratory(store).curves.values())
    assert curve.lengths[-1] == 4096


def test_runs_of_older_weights_are_left_out(store: Store) -> None:
    one = recipe("base-20", 20, TRAIN)
    put_curve(store, one, step(512), fingerprint="old", started="2025-01-01")
    put_curve(store, one, step(512), fingerprint="old", method="log", started="2025-01-01")
    put_curve(store, one, step(512), fingerprint="new", started="2025-01-02")
    assert set(read_laboratory(store).curves) == {("base-20", "as trained")}


def test_a_run_of_the_wrong_shape_is_named(store: Store) -> None:
    arrays = {"nll": np.zeros((DOCUMENTS, 3)), "hits": np.zeros((DOCUMENTS, 3))}
    run = put(store, "lab-curve", recipe("base-20", 20, TRAIN), arrays, lengths=[32, 64, 128, 256])
    with pytest.raises(DataError, match=rf"{run.key}.*'nll'.*\(12, 4\)"):
        read_laboratory(store)


def test_two_pretrainings_are_no_grid(store: Store) -> None:
    put_curve(store, recipe("base-20", 20, TRAIN), step(512))
    put_curve(store, recipe("base-41", 41, 256, train=256), step(512))
    with pytest.raises(DataError, match="one grid has one pre-training"):
        read_laboratory(store)


def test_who_is_who(store: Store) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    for name, base, tune, seed, beyond in (
        ("base-1e4", 1e4, 128, 0, "keep"),
        ("base-1e4-seed1", 1e4, 128, 1, "keep"),
        ("base-1e4-drop", 1e4, 128, 0, "drop"),
        ("base-20", 20, 128, 0, "keep"),
        ("base-20-512", 20, 512, 0, "keep"),
    ):
        put_curve(store, recipe(name, base, tune, seed=seed, beyond=beyond), step(900))
    lab = read_laboratory(store)
    assert [c.name for c in lab.tuned(128)] == ["base-20", "base-1e4"]
    assert [c.name for c in lab.tuned(128, dropped=True)] == ["base-1e4-drop"]
    assert [c.name for c in lab.tuned(512)] == ["base-20-512"]
    assert lab.tune_lengths == (128, 512)
    assert [c.name for c in lab.seeds_of(lab.tuned(128)[1])] == ["base-1e4", "base-1e4-seed1"]
    assert (lab.train_length, lab.pretrain_theta, lab.head_dim) == (128, 1e4, 64)
    first = lab.tuned(128)[0]
    assert first.bound == 128 and first.critical_base == 1e4 and first.critical_dimension == 22
    assert lab.multiples(2, 32, 64) == (256, 4096)


# --- sums, windows, intervals ---------------------------------------------------------------------


def test_cumulative_scores_are_sums_over_counts(store: Store) -> None:
    lab = laboratory_of(store, {(20.0, TRAIN): 512}, noise=0.3)
    curve = only(lab.curves.values())
    at = curve.index(256)
    want = curve.nll[:, at].sum() / (DOCUMENTS * 255)
    estimate = lab.sample.estimate(scores.cumulative_nll(curve, lab.sample, 256))
    assert estimate.value == pytest.approx(want)
    assert scores.perplexities(curve)[at] == pytest.approx(math.exp(want))
    for number, value in enumerate(estimate.sets):
        assert value == pytest.approx(curve.nll[number::SETS, at].sum() / (4 * 255))
    accuracy = scores.cumulative_accuracy(curve, lab.sample, 256)[0]
    assert accuracy == pytest.approx(scores.accuracies(curve)[at])


def test_the_bootstrap_interval_is_that_of_a_mean() -> None:
    sample = Sample(400, SETS)
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 1.0, 400)
    estimate = sample.estimate(sample.weights @ values / sample.totals[:, 0])
    half = 1.96 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.01)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.01)
    assert estimate.low < 2.0 < estimate.high
    assert len(sample.weights) == 1 + SETS + RESAMPLES
    assert (sample.weights[0] == 1).all() and (sample.weights[1 : 1 + SETS].sum(0) == 1).all()
    assert estimate.sets == pytest.approx([values[k::SETS].mean() for k in range(SETS)])


def test_windows_are_two_eighths_of_an_octave(store: Store) -> None:
    curve = only(laboratory_of(store, {(20.0, TRAIN): 512}).curves.values())
    spans = scores.windows(curve)
    assert all(end - begin == 2 for begin, end in spans) and len(spans) == len(LENGTHS) - 2
    lengths, nll = scores.local_curve(curve)
    assert nll[lengths < 512] == pytest.approx(LOSS)
    assert nll[lengths > 512 * 1.2] == pytest.approx(LOSS + 1)


@pytest.mark.parametrize("tune", [128, 256, 512])
@pytest.mark.parametrize("at", [600, 724, 1000, 2000])
def test_max_context_is_where_the_loss_steps_up(store: Store, tune: int, at: int) -> None:
    lab = laboratory_of(store, {(1e5, tune): at}, noise=0.05)
    held = contexts.held(lab, lab.tuned(tune)[0])
    assert at / scores.WINDOW / 1.01 < held.estimate.value <= at + 1
    assert not held.beyond and held.estimate.low <= held.estimate.value <= held.estimate.high
    # by hand: the first window from T_tune on whose loss is more than the margin above
    nll, curve = only(lab.curves.values()).nll.sum(0) / DOCUMENTS, only(lab.curves.values())
    reference = (nll[LENGTHS.index(tune)] - nll[LENGTHS.index(tune // 2)]) / (tune // 2)
    begins = [
        LENGTHS[i]
        for i in range(len(LENGTHS) - 2)
        if LENGTHS[i] >= tune
        and (nll[i + 2] - nll[i]) / (LENGTHS[i + 2] - LENGTHS[i]) > reference + 0.3
    ]
    assert held.estimate.value == begins[0] and curve.one_pass


def test_a_context_that_is_never_lost_is_beyond(store: Store) -> None:
    lab = laboratory_of(store, {(1e5, TRAIN): 1e9})
    held = contexts.held(lab, lab.tuned(TRAIN)[0])
    assert held.beyond and held.cells()[3] == "> 4096 [> 4096, > 4096]"
    assert held.by_set == "> 4096 / > 4096 / > 4096" and held.cells()[-1].startswith("> ")
    assert held.to_dict()["beyond_longest"] is True


def test_a_step_below_the_margin_is_no_loss(store: Store) -> None:
    put_curve(store, recipe("a", 1e5, TRAIN), step(512, 0.25))
    lab = read_laboratory(store)
    checkpoint = only(lab.checkpoints)
    assert contexts.held(lab, checkpoint).beyond
    assert not contexts.held(lab, checkpoint, margin=0.2).beyond


def test_a_hard_passage_is_not_a_lost_context(store: Store) -> None:
    hard: Local = lambda t: np.where((t > 200) & (t < 300), 2.5, LOSS)  # noqa: E731
    one = recipe("a", 1e5, TRAIN)
    put_curve(store, one, hard)
    lab = read_laboratory(store)
    assert contexts.held(lab, only(lab.checkpoints)).estimate.value < 300
    again = store.root.with_name("again")
    store = Store(again)
    put_curve(store, one, hard, method="as trained")
    with pytest.raises(DataError, match="not measured in windows of 128 tokens"):
        contexts.held(read_laboratory(store), only(lab.checkpoints))
    positions = np.arange(1, LENGTHS[-1], dtype=np.float64)
    nll = np.cumsum(hard(positions))[np.array(LENGTHS) - 2] + np.zeros((DOCUMENTS, 1))
    put_window(store, one, nll)
    lab = read_laboratory(store)
    assert contexts.held(lab, only(lab.checkpoints)).beyond


def test_sets_have_contexts_of_their_own(store: Store) -> None:
    lengths = np.array(LENGTHS) - 1.0
    nll = np.stack([LOSS * lengths + (lengths - b).clip(0) for b in (400, 800, 1600)] * 4)
    arrays = {"nll": nll.astype(np.float32), "hits": np.zeros(nll.shape, dtype=np.int32)}
    put(store, "lab-curve", recipe("a", 1e5, TRAIN), arrays, lengths=LENGTHS)
    put_window(store, recipe("a", 1e5, TRAIN), LOSS * lengths + np.zeros((DOCUMENTS, 1)))
    lab = read_laboratory(store)
    held = contexts.held(lab, only(lab.checkpoints))
    for value, at in zip(held.estimate.sets, (400, 800, 1600), strict=True):
        assert at / scores.WINDOW / 1.01 < value <= at + 1
    # pooled, a third of the documents is enough only where 1/3 nat is above the margin
    assert held.estimate.sets[0] <= held.estimate.value <= 400 * scores.WINDOW


def test_several_passes_have_no_local_loss(store: Store) -> None:
    put_curve(
        store,
        recipe("a", 1e5, TRAIN),
        step(512),
        method="ntk per_sequence",
        rope={"dynamic_ntk": "per_sequence"},
    )
    put_curve(store, recipe("a", 1e5, TRAIN), step(512))
    lab = read_laboratory(store)
    curve = lab.curves["a", "ntk per_sequence"]
    for call in (
        lambda: scores.local_curve(curve),
        lambda: scores.max_context(curve, curve, lab.sample),
        lambda: scores.local_nll(curve, lab.sample, [(0, 2)]),
    ):
        with pytest.raises(AssertionError, match="no local loss"):
            call()
    assert scores.cumulative_nll(curve, lab.sample, 256)[0] == pytest.approx(LOSS)


# --- findings -------------------------------------------------------------------------------------


def law(base: float, tune: int) -> float:
    return theory.extrapolation_bound(base, head_dim=HEAD_DIM, train_length=TRAIN, tune_length=tune)


def test_the_worst_base_and_how_much_worse_it_is(store: Store) -> None:
    # past T_train all lose 1 nat a token, 10000 from the start, the others later
    lab = laboratory_of(
        store, {(20.0, TRAIN): 1024, (300.0, TRAIN): 400, (1e4, TRAIN): 160, (1e5, TRAIN): 500}
    )
    worst = bases.worst_base(lab, 1024)
    assert (worst.rank, worst.of, worst.worst, worst.rival) == (1, 4, 1e4, 300)
    assert worst.difference.value == pytest.approx((400 - 160) / 1023, rel=1e-4)
    assert worst.share == 1 and worst.difference.sign == 1
    assert worst.smallest.value == pytest.approx(-(1024 - 160) / 1023, rel=2e-3)
    assert bases.find(lab).verdict == "agrees"


def test_a_base_that_is_not_the_worst(store: Store) -> None:
    lab = laboratory_of(store, {(20.0, TRAIN): 1024, (3e3, TRAIN): 140, (1e4, TRAIN): 160})
    worst = bases.worst_base(lab, 512)
    assert (worst.rank, worst.worst, worst.rival) == (2, 3e3, 3e3)
    assert worst.difference.value == pytest.approx(-(160 - 140) / 511, rel=1e-4)
    found = bases.find(lab)
    statements = {c.statement: c.holds for c in found.checks}
    assert statements["1e4 is the worst base at 512"] is False
    assert found.verdict == "agrees in part"  # the smallest base is better, 10000 not the worst
    assert "none of the lengths" in found.headline


def test_measured_contexts_on_the_law_agree(store: Store) -> None:
    at = {
        (base, tune): law(base, tune) * 1.06  # a window begins a little before what breaks it
        for tune in (128, 512)
        for base in (1e4, 1e5, 1e6, 3e6, 1e7)
    }
    lab = laboratory_of(store, at, noise=0.02)
    points = bound.above(bound.larger(lab))
    assert {p.checkpoint.base for p in points} == {1e5, 1e6, 3e6, 1e7}
    result = bound.fit(points, lab.sample)
    assert result.slope.value == pytest.approx(1, abs=0.08)
    assert result.slope.low <= result.slope.value <= result.slope.high
    assert result.mean_ratio.value == pytest.approx(1, abs=0.1)
    assert result.beyond == 0 and 1 / 1.3 < result.worst_ratio < 1.3
    found = bound.find(lab)
    assert found.verdict == "agrees"
    # by hand
    x = np.log([law(p.checkpoint.base, p.checkpoint.tune_length) for p in points])
    y = np.log([p.estimate.value for p in points])
    assert result.slope.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert result.mean_ratio.value == pytest.approx(math.exp((y - x).mean()))


def test_points_beyond_have_no_part_in_the_slope(store: Store) -> None:
    lab = laboratory_of(store, {(1e5, TRAIN): 400, (3e5, TRAIN): 800, (1e6, TRAIN): 1e9})
    result = bound.fit(bound.larger(lab), lab.sample)
    assert (result.points, result.beyond) == (3, 1)
    assert result.worst == (1e6, TRAIN) and result.worst_ratio == pytest.approx(
        4096 / law(1e6, TRAIN)
    )
    assert math.isfinite(result.slope.value)
    alone = bound.fit([p for p in bound.larger(lab) if p.beyond], lab.sample)
    assert math.isnan(alone.slope.value) and alone.slope.to_dict()["value"] is None


def test_the_steepest_segment_against_the_pivots(store: Store) -> None:
    # the loss past T_train: 2 nats from 300 on, then falls to none at 20 within 81 → 41
    heights = {10.0: 0.0, 20.0: 0.05, 41.0: 0.1, 81.0: 1.8, 300.0: 1.9, 1e4: 2.0}
    for base, height in heights.items():
        put_curve(store, recipe(f"base-{base:g}", base, TRAIN), step(TRAIN, height), noise=0.02)
    lab = read_laboratory(store)
    result = pivots.improvement(lab, 1024)
    assert (result.steepest.low, result.steepest.high) == (41, 81)
    assert result.steepest.steepest == 1
    part = (1024 - TRAIN) / 1023
    assert result.steepest.slope.value == pytest.approx(1.7 * part / math.log(81 / 41), rel=2e-3)
    change = {p.number: p.change.sign for p in result.pivots}
    assert change == {1: 1, 2: -1, 3: 1}
    assert [round(p.at) for p in result.pivots] == [81, 41, 20]
    assert pivots.find(lab).verdict == "agrees in part"


def test_the_critical_base(store: Store) -> None:
    at: dict[tuple[float, int], float] = {
        (base, tune): law(base, tune) * 1.06
        for tune, some in ((128, (300.0, 1e4, 1e6)), (512, (1e4, 7e5, 1e7)))
        for base in some
    }
    at |= {(300.0, 128): 500, (1e4, 512): 900, (20.0, 128): 3000}
    lab = laboratory_of(store, at)
    found = critical_base.find(lab)
    statements = {c.statement: c.holds for c in found.checks}
    assert (
        statements[
            "tuned at 128, the base next below β₀ (1e4) has the shortest measured max context"
        ]
        is True
    )
    assert (
        statements[
            "tuned at 512, the base next below β₀ (1e4) has the shortest measured max context"
        ]
        is False
    )
    assert statements["tuned at 128, the bases below β₁ hold on beyond T_tune"] is True
    assert (
        statements[
            "tuned at 128, all bases from β₁ up to β₀ hold up to T_extra within a factor of 1.5"
        ]
        is False
    )
    sides = {(s["tune_length"], s["side"]): s["bases"] for s in found.numbers["sides"]}
    assert sides == {
        (128, "up to"): [300, 1e4],
        (128, "above"): [1e6],
        (512, "up to"): [1e4],
        (512, "above"): [7e5, 1e7],
    }


def put_method(store: Store, one: dict[str, Any], method: str, local: Local, **rope: Any) -> None:
    put_curve(store, one, local, method=method, rope=rope)


def test_methods_against_as_trained(store: Store) -> None:
    own, drop = recipe("base-1e4", 1e4, TRAIN), recipe("b-drop", 1e4, TRAIN, beyond="drop")
    small, middle = recipe("base-20", 20, TRAIN), recipe("base-300", 300, TRAIN)
    large = recipe("base-1e5", 1e5, TRAIN)
    for one, height, log, ntk in (
        (own, 3.0, 2.95, 1.0),
        (drop, 1.0, 0.3, 0.9),
        (small, 1.0, 0.2, 1.4),
        (middle, 1.0, 0.8, 0.7),
        (large, 2.0, 2.0, 0.5),
    ):
        put_curve(store, one, step(256, height))
        put_method(store, one, "log", step(256, log), log_scale=True)
        put_method(store, one, "ntk", step(256, ntk), dynamic_ntk="per_query")
    put_method(store, large, "ntk (wrong)", step(256, 0.9), dynamic_ntk="per_query")
    put_method(store, large, "ntk per_sequence", step(256, 0.6), dynamic_ntk="per_sequence")
    lab = read_laboratory(store)
    found = methods.find(lab)
    assert found.verdict == "agrees", [c for c in found.checks if not c.holds]
    assert len(found.checks) == 7
    past = (4096 - 256) / 4095
    by_name = {m["checkpoint"]: m for m in found.numbers["checkpoints"]}
    log = next(
        m for m in by_name["base-20"]["methods"] if m["method"] == "log" and m["length"] == 4096
    )
    assert log["difference"]["value"] == pytest.approx(-0.8 * past, rel=1e-3)
    assert by_name["base-20"]["excess"]["4096"] == pytest.approx(past, rel=1e-3)
    sequence = found.numbers["per_query_minus_per_sequence"]
    assert [s["length"] for s in sequence] == [1024, 4096]
    assert sequence[1]["difference"]["value"] == pytest.approx(-0.1 * past, rel=1e-2)


def test_drift_of_attention_scores(store: Store) -> None:
    # beyond: from 0 at distance 1 to 1 at T_tune, and on to 3 past the bound
    put_curve(store, recipe("base-1e5", 1e5, TRAIN), step(400))
    put_attention(store, recipe("base-1e5", 1e5, TRAIN), lambda m: np.log2(1 + m) / 7)
    lab = read_laboratory(store)
    one = only(drift.drifts(lab))
    assert one.before.leaves.value == pytest.approx(0, abs=0.02)
    edges = np.array(EDGES)
    mid = (edges[:-1] + edges[1:] - 1) / 2
    means = np.log2(1 + mid) / 7
    inside = (edges[:-1] >= 1) & (edges[1:] - 1 < TRAIN)
    low, high = means[inside].min(), means[inside].max()
    assert one.beyond.leaves.value == pytest.approx((means[-1] - high) / (high - low))
    assert one.beyond.within.value == pytest.approx((high - low) * 1.025)
    assert one.beyond.shift.value > 0 and one.difference.sign == 1
    found = attention.find(lab)
    assert found.verdict == "agrees" and found.numbers["drift"][0]["documents"] == 6


def test_clip_and_drop(store: Store) -> None:
    own = recipe("base-1e4", 1e4, TRAIN)
    put_curve(store, own, step(128, 2.0))
    put_method(store, own, "clip", step(128, 1.0), beyond_critical="clip")
    put_method(store, own, "drop", step(128, 3.0), beyond_critical="drop")
    put_curve(store, recipe("base-1e4-drop", 1e4, TRAIN, beyond="drop"), step(512, 1.0))
    lab = read_laboratory(store)
    found = beyond_critical.find(lab)
    assert found.verdict == "agrees"
    rows = {(r["experiment"], r["length"]): r for r in found.numbers["experiments"]}
    assert set(rows) == {
        (name, n)
        for name in ("as trained", "clip", "drop", "trained with drop")
        for n in (1024, 4096)
    }
    assert rows["clip", 1024]["local_nll"]["value"] == pytest.approx(LOSS + 1)
    assert rows["trained with drop", 1024]["difference"]["value"] == pytest.approx(
        (512 - 2 * 896) / 1023, rel=1e-2
    )
    assert rows["as trained", 1024]["difference"]["value"] == 0


def test_retrieval_that_is_lost_where_perplexity_is_kept(store: Store) -> None:
    for base, lost, until in ((20.0, 1e9, 256), (1e5, 400, 256), (1e6, 800, 64)):
        one = recipe(f"base-{base:g}", base, TRAIN)
        put_curve(store, one, step(lost))
        put_retrieval(store, one, until)
    never = recipe("never", 300, TRAIN)
    put_curve(store, never, step(1e9))
    put_retrieval(store, never, 0)
    lab = read_laboratory(store)
    small, unlearned, large, largest = kept.everything(lab)
    first = theory.first_negative(20, 4096, HEAD_DIM)
    assert first is not None and small.feasible == first - 1 < 256
    assert small.loses is True and small.retrieves.value == 256 and small.held.beyond
    assert unlearned.learned is False and unlearned.loses is None
    assert unlearned.retrieves.value == 0
    assert large.retrieves.value == 256
    assert large.accuracy == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert large.answer_nll[0] == pytest.approx(0.1)
    assert largest.retrieves.value == 64
    found = retrieval.find(lab)
    assert found.numbers["checkpoints"][0]["keeps_perplexity_and_loses_retrieval"] is True
    assert found.numbers["under_their_bound"] == 1 == found.numbers["lose_retrieval"]
    statements = {c.statement: c.holds for c in found.checks}
    past = f"base-20 retrieves at no length past its bound of {small.feasible}"
    assert small.retrieves_past == 256 and statements[past] is False
    assert found.verdict == "agrees in part"


def test_retrieval_counts_what_stands_first_and_has_no_gaps(store: Store) -> None:
    one = recipe("base-300", 300, TRAIN)
    put_curve(store, one, step(1e9))
    right = np.zeros((60, len(PROBES), 2), dtype=bool)
    right[:, :3, 0] = True  # 32, 64, 128
    right[:, 4, 0] = True  # and 512, after a gap
    right[:, :6, 1] = True  # what stands nearer is found further
    arrays = {"right": right, "nll": np.zeros(right.shape, dtype=np.float32)}
    request = {"lengths": PROBES, "depths": [0.0, 0.5], "samples": 60}
    put(store, "lab-retrieval", one, arrays, **request)
    found = only(kept.everything(read_laboratory(store)))
    assert found.accuracy == (1, 1, 1, 0, 1, 0, 0)
    assert found.retrieves.value == 128
    assert found.learned and found.retrieves_past == 128


def test_the_spread_over_seeds(store: Store) -> None:
    for seed, loss in ((0, 1.5), (1, 1.6), (2, 1.4)):
        name = "base-20" + (f"-seed{seed}" if seed else "")
        put_curve(store, recipe(name, 20, TRAIN, seed=seed), step(700 + 200 * seed, 1, loss))
    lab = read_laboratory(store)
    one = only(seeds.repeated(lab))
    assert one.nll[512] == pytest.approx((1.5, 1.6, 1.4), rel=1e-4)
    assert one.to_dict()["nll_range"]["512"] == pytest.approx(0.2, rel=1e-3)
    values = [h.estimate.value for h in one.contexts]
    assert values == sorted(values) and values[0] < 700 < values[2]
    assert "3 seeds of the tuning for the bases 20" in seeds.find(lab).basis


def test_paired_differences_do_not_see_what_documents_share(store: Store) -> None:
    one, other = recipe("a", 1e5, TRAIN), recipe("b", 1e4, TRAIN)
    put_curve(store, one, step(512), noise=1.0)
    put_curve(store, other, step(256), noise=1.0)
    lab = read_laboratory(store)
    a, b = lab.curves["a", "as trained"], lab.curves["b", "as trained"]
    difference = comparison.compare(lab, a, b, 1024)
    assert difference.difference.value == pytest.approx(-256 / 1023, rel=1e-4)
    assert difference.difference.high - difference.difference.low < 1e-4
    assert difference.nll.high - difference.nll.low > 0.01


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        ((True, True), "agrees"),
        ((True, False), "agrees in part"),
        ((True, None), "agrees in part"),
        ((False, None), "disagrees"),
        ((False, False), "disagrees"),
        ((None, None), "not decided"),
    ],
)
def test_verdicts_follow_from_checks(holds: tuple[bool | None, ...], verdict: str) -> None:
    checks = tuple(finding.Check(statement="x", holds=h) for h in holds)
    one = finding.Finding(name="a", title="a", source="", claim="", checks=checks)
    assert one.verdict == verdict
    assert dataclasses.replace(one, missing="nothing there").verdict == "not measured"


# --- everything -----------------------------------------------------------------------------------


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
        name = f"base-{finding.base_label(base)}"
        made[name] = one(name, base, train, bound_of(base, train) * 1.05, speed)
    for base in (81.0, 326.0, 1e4, 7e5, 1e7):
        name = f"base-{finding.base_label(base)}-{4 * train}"
        made[name] = one(name, base, 4 * train, bound_of(base, 4 * train) * 1.1, 1.2)
    for base in (20.0, 1e4):
        for seed in (1, 2):
            name = f"base-{finding.base_label(base)}-seed{seed}"
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
    for name in ("pretrained", "base-20", "base-1e4", "base-1e5", "base-1e4-512"):
        base = made[name]["rope"]["rope_theta"]
        put_attention(store, made[name], lambda m, b=base: 2 * np.cos(m * b**-0.55))
    for method in ("ntk", "clip"):
        put_attention(store, made["base-1e5"], lambda m: 1 / (1 + m / 50), method=method)


FILES = {
    "bases.png",
    "heatmap.png",
    "bound.png",
    "pivots.png",
    "critical-base.png",
    "methods.png",
    "attention.png",
    "beyond-critical.png",
    "periods.png",
    "retrieval.png",
    "retrieval-lengths.png",
    "findings.json",
    "findings.md",
}


def test_everything_is_written(store: Store, tmp_path: Path) -> None:
    whole_store(store)
    put_curve(store, recipe("broken", 77, TRAIN), step(1), error="out of memory")
    lab = read_laboratory(store)
    found = report.find_all(lab)
    assert {f.verdict for f in found} <= {
        "agrees",
        "agrees in part",
        "disagrees",
        "not decided",
        "no claim to check",
    }
    out = tmp_path / "out"
    written = report.write_findings(lab, out, found)
    assert {path.name for path in written} == FILES and len(written) == len(FILES)
    for path in written:
        data = path.read_bytes()
        if path.suffix == ".png":
            assert data.startswith(b"\x89PNG") and 5_000 < len(data) < 150_000, path.name
            width = int.from_bytes(data[16:20], "big")
            assert width == round(style.WIDTH * style.DPI)
    text = (out / "findings.md").read_text()
    assert "NaN" not in text and "nan" not in text.split()
    for one in found:
        assert f"## {one.title}" in text and f"**Verdict: {one.verdict}.**" in text
    assert "documents of 4096 tokens, in 3 disjoint sets" in text
    assert "lab-curve of broken (as trained): out of memory" in text
    facts = json.loads((out / "findings.json").read_text(), parse_constant=pytest.fail)
    assert set(facts["findings"]) == set(document.FINDINGS)
    assert facts["findings"]["bound"]["numbers"]["fits"]["all"]["points"] == 6
    terminal = report.summary_table(found)
    assert all(f.name in terminal and f.verdict in terminal for f in found)
    again = tmp_path / "again"
    report.write_findings(lab, again)
    for name in FILES:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def test_another_scale(store: Store, tmp_path: Path) -> None:
    whole_store(store, grid="gpu", train=512)
    lab = read_laboratory(store, "gpu")
    assert lab.train_length == 512 and lab.multiples(32, 64) == (16384,)
    found = {f.name: f for f in report.find_all(lab)}
    assert found["retrieval"].verdict == found["attention"].verdict == "not measured"
    assert found["bases"].missing is None and found["methods"].missing is None
    written = {path.name for path in report.write_findings(lab, tmp_path / "out")}
    assert "bases.png" in written and "retrieval.png" not in written
    assert "not measured: no retrieval probes" in (tmp_path / "out" / "findings.md").read_text()


def test_a_single_curve_breaks_nothing(store: Store, tmp_path: Path) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    lab = read_laboratory(store)
    found = report.find_all(lab)
    assert {f.name for f in found if f.missing is None} == {"periods"}
    assert "not measured" in report.summary_table(found)
    report.write_findings(lab, tmp_path / "out")


def test_curves_too_short_for_a_window_are_not_measured(store: Store, tmp_path: Path) -> None:
    for base in (20.0, 300.0, 1e4, 1e5):
        put_curve(store, recipe(f"base-{base:g}", base, TRAIN), step(200), lengths=[64, 128, 512])
    lab = read_laboratory(store)
    found = {f.name: f for f in report.find_all(lab)}
    assert "not measured at the lengths of a window" in (found["bound"].missing or "")
    assert found["bases"].missing is None and found["pivots"].missing is None
    report.write_findings(lab, tmp_path / "out")


def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    put_curve(store, recipe("pretrained", 1e4), step(200))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Give another folder"):
        report.write_findings(read_laboratory(store), tmp_path / "file" / "out")
