"""What the rest of a plan costs: operations, memory, and time by what stored units took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rope_eval.plans.cell import Cell
from rope_eval.plans.configs import Configs
from rope_eval.plans.context import Prospect
from rope_eval.results.resolved import resolved_dtype
from rope_eval.scoring.cost import BYTES, Cost, usual_chunk, usual_device
from rope_eval.scoring.memory import Sizes, plan_memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a cell costs; None for what is not known before.

    Attributes:
        flops: floating-point operations of the units that are missing.
        weights: bytes of the model.
        memory: bytes in all, at the longest text.
        cache: bytes of all layers' keys and values of the longest text, where an engine keeps them
            beside what it takes for itself.
        done: operations and seconds of each stored unit of this machine.
    """

    flops: float | None = None
    weights: int | None = None
    memory: int | None = None
    cache: int | None = None
    done: tuple[tuple[float | None, float], ...] = ()


def estimate_of(cell: Cell, found: Prospect, configs: Configs) -> Estimate:
    """Return what is known of a cell's cost: of a model that transformers knows.

    Args:
        cell: the cell.
        found: what of it is stored.
        configs: of the plan's models.

    Raises:
        SpecError: for a budget of memory that holds no plan.
    """
    cost = configs.cost(cell)
    if cost is None:
        return Estimate(done=tuple((None, seconds) for _, seconds in found.timed))
    dtype = resolved_dtype(cell.setting.checkpoint, cell.loading.dtype, cell.loading.backend)
    weights = cost.weights(dtype) if dtype in BYTES else None
    memory = cache = None
    longest = cell.measurement.longest
    if weights is not None and longest and cell.loading.backend == "hf":
        memory = _memory(cell, cost, longest, dtype)
    elif weights is not None and longest and "kv_cache_dtype" not in cell.loading.engine:
        cache = cost.keys_and_values(longest, dtype)
    passes = found.passes
    return Estimate(
        flops=None if passes is None else sum(map(cost.flops, passes)),
        weights=weights,
        memory=memory,
        cache=cache,
        done=tuple((None if n is None else cost.flops(n), s) for n, s in found.timed),
    )


def _memory(cell: Cell, cost: Cost, longest: int, dtype: str) -> int:
    """Return the bytes that a cell holds where the model computes: by its budget if it has one."""
    loading, cached = cell.loading, cell.measurement.keeps_cache
    sizes = Sizes.of(
        cost,
        longest,
        dtype,
        cell.setting.rope,
        weights=cost.weights_in_turn(dtype) if loading.offload else cost.weights(dtype),
        layers=cost.layers if cached else 1,
        cached=cached,
    )
    if cached:
        return sizes.held(longest)
    device = loading.device or usual_device()
    chunk = min(loading.chunk_size or usual_chunk(device), longest)
    if loading.memory_budget is None:
        return sizes.held(chunk)
    return plan_memory(
        sizes,
        loading.memory_budget,
        chunk_size=chunk,
        is_fixed=loading.chunk_size is not None,
        device=device,
        what=f"{longest} tokens",
    ).held


@dataclass(frozen=True, kw_only=True, slots=True)
class Remaining:
    """What of a cell is left to do.

    Attributes:
        kind: of its measurement.
        units: that are to be done; 0 where it is over, or cannot be done.
        estimate: what they cost, and what stored ones took.
    """

    kind: type
    units: int
    estimate: Estimate


def seconds_left(cells: Sequence[Remaining]) -> tuple[float, int] | None:
    """Return how long one worker needs on this machine, by what stored units took here.

    Where operations are known, they take what those of the stored units took; a unit of an unknown
    length takes the mean of those of its kind.

    Returns:
        Seconds, and how many cells are not in them; None where nothing is stored to go by.
    """
    done = [(one.kind, *pair) for one in cells for pair in one.estimate.done]
    if not done:
        return None
    known = [(flops, seconds) for _, flops, seconds in done if flops]
    rate = sum(s for _, s in known) / sum(f for f, _ in known) if known else None
    by_kind: dict[type, list[float]] = defaultdict(list)
    for kind, _, seconds in done:
        by_kind[kind].append(seconds)
    left, unknown = 0.0, 0
    for one in cells:
        if not one.units:
            continue
        if rate is not None and one.estimate.flops is not None:
            left += rate * one.estimate.flops
        elif one.kind in by_kind:
            left += one.units * fmean(by_kind[one.kind])
        else:
            unknown += 1
    return left, unknown
