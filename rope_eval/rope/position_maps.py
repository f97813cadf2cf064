"""Position maps: the distance that a query sees a key at, as a function of both positions.

A block of queries and the keys before it fall into regions, each with a map of the queries'
positions and one of the keys': the rotation of the difference is what a score has. So no mask is
needed, and attention to the regions is merged by their log-sum-exp. Positions t of a query and s of
a key count from 0, d = t − s.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    Map = Callable[[Tensor], Tensor]

LONGEST_BLOCK = 256  # queries of a block: what is computed twice is a square of them

NEAR, FAR = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Queries and keys that meet under one pair of maps.

    Attributes:
        queries: the first position and the one past the last; none is empty.
        keys: likewise.
        shape: which keys each query sees: "full" all; in a square, "causal" those up to its own
            place in it, and "anti" those from it on.
        q_map: which of the map's `q_maps`.
        k_map: which of its `k_maps`.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    shape: Literal["full", "causal", "anti"] = "full"
    q_map: int = NEAR
    k_map: int = NEAR


class PositionMap(ABC):
    """A map of positions.

    Attributes:
        q_maps: positions of queries, float64 ``[T]``, to the positions that they are turned by.
        k_maps: the same of keys.
        exact: queries before this position see every key at its own distance.
    """

    q_maps: tuple[Map, ...]
    k_maps: tuple[Map, ...]
    exact: float

    @abstractmethod
    def end(self, a: int) -> int:
        """Return the last position past which no block of queries from a on may go."""

    @abstractmethod
    def regions(self, a: int, b: int) -> list[Region]:
        """Return the regions of the queries a ≤ t < b, b ≤ end(a), their own block first."""

    @abstractmethod
    def rel(self, t: Tensor, s: Tensor) -> Tensor:
        """Return the distance of a query at t and a key at s ≤ t, float64 and broadcast."""

    def blocks(self, a: int, b: int) -> Iterator[list[Region]]:
        """Yield the regions of the queries a ≤ t < b, block by block."""
        while a < b:
            stop = min(b, self.end(a))
            yield self.regions(a, stop)
            a = stop


def _same(x: Tensor) -> Tensor:
    return x


class Windowed(PositionMap):
    """Exact at distances below a window, and another map beyond it.

    Args:
        window: w > 0: keys at d < w are near.
        q_far: the map of queries to keys at d ≥ w.
        k_far: the map of those keys; None where it is that of near ones.
        exact: as the attribute.
    """

    def __init__(self, window: int, q_far: Map, k_far: Map | None, *, exact: float):
        self.window, self.exact = window, exact
        self.q_maps = (_same, q_far)
        self.k_maps = (_same,) if k_far is None else (_same, k_far)

    def end(self, a: int) -> int:
        """Return where the block ends: it is no longer than the window."""
        return a + min(self.window, LONGEST_BLOCK)

    def regions(self, a: int, b: int) -> list[Region]:
        """Return up to seven regions; the border d = w runs through a square of keys, cut twice."""
        w, far = self.window, len(self.k_maps) - 1
        border, end = a - w + 1, b - w  # keys on both sides of it: border ≤ s < end
        start = max(border, 0)
        late = a + start - border  # the first query that sees not all of them near
        found = [Region(queries=(a, b), keys=(a, b), shape="causal")]
        if max(end, 0) < a:
            found.append(Region(queries=(a, b), keys=(max(end, 0), a)))
        if start < end:
            keys, last = (start, end), late + end - start
            if a < late:
                found.append(Region(queries=(a, late), keys=keys))
            found.append(Region(queries=(late, last), keys=keys, shape="anti"))
            beyond = (late + 1, last + 1)
            found.append(Region(queries=beyond, keys=keys, shape="causal", q_map=FAR, k_map=far))
        if border > 0:
            found.append(Region(queries=(a, b), keys=(0, border), q_map=FAR, k_map=far))
        return found

    def rel(self, t: Tensor, s: Tensor) -> Tensor:
        """Return d where it is below the window, else the difference of the far maps."""
        t, s = t.double(), s.double()
        far = self.q_maps[FAR](t) - self.k_maps[-1](s)
        return (t - s).where(t - s < self.window, far)


class Chunked(PositionMap):
    """Dual Chunk Attention: exact within a chunk, and for chunks before it a clipped position.

    Args:
        chunk: S, tokens of a chunk: a key is at s mod S.
        limit: c, the largest position of a query to keys of other chunks.
    """

    def __init__(self, chunk: int, limit: int):
        self.chunk, self.limit = chunk, limit
        self.exact = min(limit + 1, 2 * chunk)
        oldest = min(2 * chunk - 1, limit)
        self.q_maps = (
            lambda t: t % chunk,
            lambda t: (t % chunk + chunk).clamp(max=limit),
            lambda t: t * 0 + oldest,
        )
        self.k_maps = (lambda s: s % chunk,)

    def end(self, a: int) -> int:
        """Return where the block ends, in its chunk."""
        return min((a // self.chunk + 1) * self.chunk, a + LONGEST_BLOCK)

    def regions(self, a: int, b: int) -> list[Region]:
        """Return up to four regions: the own block and chunk, the chunk before, and older ones."""
        start = a // self.chunk * self.chunk
        before = max(start - self.chunk, 0)
        found = [Region(queries=(a, b), keys=(a, b), shape="causal")]
        for q_map, keys in enumerate(((start, a), (before, start), (0, before))):
            if keys[0] < keys[1]:
                found.append(Region(queries=(a, b), keys=keys, q_map=q_map))
        return found

    def rel(self, t: Tensor, s: Tensor) -> Tensor:
        """Return the difference of the maps of t, by how many chunks s is before it, and of s."""
        t, s = t.double(), s.double()
        chunks = t // self.chunk - s // self.chunk
        own, last, older = (q_map(t) for q_map in self.q_maps)
        query = own.where(chunks == 0, last.where(chunks == 1, older))
        return query - self.k_maps[0](s)


def rerope(window: int) -> Windowed:
    """Return ReRoPE's map: d, and w from the window on."""
    return Windowed(window, lambda t: t * 0 + window, lambda s: s * 0, exact=window + 1)


def leaky_rerope(window: int, factor: float) -> Windowed:
    """Return Leaky ReRoPE's map: d, and w + (d − w)/k from the window on."""
    return Windowed(
        window,
        lambda t: (t + window * (factor - 1)) / factor,
        lambda s: s / factor,
        exact=window + 1,
    )


def self_extend(window: int, group: int) -> Windowed:
    """Return Self-Extend's map: d, and ⌊t/G⌋ − ⌊s/G⌋ + w − ⌊w/G⌋ from the window on."""
    return Windowed(
        window,
        lambda t: t.div(group).floor() + (window - window // group),
        lambda s: s.div(group).floor(),
        exact=window + 1,
    )


def string(shift: int, window: int) -> Windowed:
    """Return STRING's map: d, and d − S + W from the shift S on."""
    exact = shift if window != shift else math.inf
    return Windowed(shift, lambda t: t - (shift - window), None, exact=exact)
