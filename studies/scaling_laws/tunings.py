"""A tuning over all of its seeds: its mean curve, and how far another seed may move it.

A mixed model by bootstrap. Documents are resampled for all curves alike; beside that, in each
resample, a tuning of S seeds is moved by the mean of S seed effects. An effect is a whole curve:
what one seed's loss is above the mean of its tuning, times √(S / (S − 1)), drawn from those of all
tunings that have several seeds. So one that was run once is as uncertain as those that were
repeated have shown, and effects keep their course along the length.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from rope_eval.errors import DataError
from rope_eval.results.stats import RESAMPLES, SEED
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory, SeedEffects

Read = Callable[[Checkpoint], Curve | None]


def trained(laboratory: Laboratory, checkpoint: Checkpoint) -> Curve:
    """Return the "as trained" curve of a checkpoint's tuning."""
    (curve,) = _across(laboratory, checkpoint, [laboratory.curve])
    return curve


def pair(
    laboratory: Laboratory, checkpoint: Checkpoint, method: str, other: str = AS_TRAINED
) -> tuple[Curve, Curve] | None:
    """Return a tuning under two methods, paired by seeds; None where either is not measured."""
    if any(laboratory.curve(checkpoint, name) is None for name in (method, other)):
        return None
    reads = [_under(laboratory, name) for name in (method, other)]
    first, second = _across(laboratory, checkpoint, reads)
    return first, second


def with_window(laboratory: Laboratory, checkpoint: Checkpoint) -> tuple[Curve, Curve]:
    """Return a tuning's "as trained" curve, and the same tokens in windows of T_tune."""
    laboratory.in_window(checkpoint)  # one that is missing is an error of its own

    def window(one: Checkpoint) -> Curve | None:
        try:
            return laboratory.in_window(one)
        except DataError:
            return None

    curve, in_window = _across(laboratory, checkpoint, [laboratory.curve, window])
    return curve, in_window


def _under(laboratory: Laboratory, method: str) -> Read:
    return lambda checkpoint: laboratory.curve(checkpoint, method)


def _across(
    laboratory: Laboratory, checkpoint: Checkpoint, reads: Sequence[Read]
) -> tuple[Curve, ...]:
    own = _seeds(laboratory, checkpoint, reads)
    lengths = [curve.lengths for curve in own[0]]
    pools: list[list[np.ndarray]] = [[] for _ in reads]
    for first in laboratory.checkpoints if checkpoint.tuned else ():
        if first != laboratory.seeds_of(first)[0]:
            continue
        some = _seeds(laboratory, first, reads)
        if len(some) < 2 or [curve.lengths for curve in some[0]] != lengths:
            continue
        scale = math.sqrt(len(some) / (len(some) - 1))
        for pool, curves in zip(pools, zip(*some, strict=True), strict=True):
            means = np.array([curve.nll.mean(0) for curve in curves])
            pool.extend(scale * (means - means.mean(0)))
    merged = []
    for curves, pool in zip(zip(*own, strict=True), pools, strict=True):
        effects = None
        if pool:
            rng = np.random.default_rng([SEED, zlib.crc32(checkpoint.tuning.encode())])
            drawn = rng.integers(len(pool), size=(RESAMPLES, len(own)))
            effects = SeedEffects(pool=np.array(pool), drawn=drawn)
        nll, hits = (
            np.mean([getattr(curve, name) for curve in curves], axis=0) for name in ("nll", "hits")
        )
        merged.append(replace(curves[0], nll=nll, hits=hits, effects=effects))
    return tuple(merged)


def _seeds(
    laboratory: Laboratory, checkpoint: Checkpoint, reads: Sequence[Read]
) -> list[tuple[Curve, ...]]:
    """Return the curves of each seed that has all of them at the first one's lengths."""
    found: list[tuple[Curve, ...]] = []
    for one in laboratory.seeds_of(checkpoint):
        curves = [read(one) for read in reads]
        whole = tuple(curve for curve in curves if curve is not None)
        if len(whole) == len(reads) and (
            not found or [c.lengths for c in whole] == [c.lengths for c in found[0]]
        ):
            found.append(whole)
    return found
