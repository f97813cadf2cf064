"""Distances of needles, drawn uniformly over a range, and the bins that they are reported in."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rope_eval.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Distances:
    """A distance for each sample, in tokens: stratified, so that none is left out for long.

    The range is cut into as many equal strata as there are samples, and each sample has a distance
    from one of them, which is which at random: the first so many samples are from all of the range.
    What a base finds may depend on the very distance, as its pairs of dimensions turn within a few
    tokens; a few chosen distances say nothing of those between them.

    Attributes:
        shortest: the least distance.
        longest: the greatest one.
        samples: how many are drawn.
        bins: into how many equal parts of the range they are put together.
        seed: of the draws.
    """

    shortest: int
    longest: int
    samples: int
    bins: int
    seed: int

    def __post_init__(self) -> None:
        whole = (self.shortest, self.longest, self.samples, self.bins, self.seed)
        if any(type(number) is not int for number in whole) or self.seed < 0:
            raise SpecError(
                "distances, samples, bins and the seed must be whole numbers, got "
                + ", ".join(map(repr, whole))
            )
        if not 1 <= self.shortest < self.longest:
            raise SpecError(
                "distances must be the shortest and a greater longest one, 1 or more, got "
                f"[{self.shortest}, {self.longest}]"
            )
        most = min(self.samples, self._span)
        if not 1 <= self.bins <= most:
            raise SpecError(
                f"bins must be from 1 to {most}, the number of samples or of distances, got "
                f"{self.bins}"
            )

    @property
    def _span(self) -> int:
        return self.longest - self.shortest + 1

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """The distance of each sample, ``[samples]``."""
        rng = random.Random(f"{self.seed}:distances")
        width = self._span / self.samples
        found = [
            min(self.shortest + math.floor(width * (i + rng.random())), self.longest)
            for i in range(self.samples)
        ]
        rng.shuffle(found)
        return tuple(found)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The greatest distance of each bin, ``[bins]``, increasing.

        >>> Distances(shortest=1, longest=10, samples=8, bins=4, seed=0).ends
        (2, 5, 7, 10)
        """
        return tuple(
            self.shortest + self._span * (i + 1) // self.bins - 1 for i in range(self.bins)
        )

    def end_of(self, distance: int) -> int:
        """Return the greatest distance of the bin that a distance lies in."""
        return self.ends[bisect_left(self.ends, distance)]

    def starts(self) -> Sequence[int]:
        """Return the least distance of each bin, ``[bins]``."""
        return (self.shortest, *(end + 1 for end in self.ends[:-1]))
