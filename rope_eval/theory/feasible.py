"""Where bases are feasible by arXiv 2405.14591, [2] here: slivers, their widths and their share."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rope_eval.errors import SpecError
from rope_eval.theory.base_bound import BASES_PER_DECADE, base_is_feasible
from rope_eval.theory.checks import checked_base, checked_head_dim, checked_length, is_int

MOST_BASES = 100_000
_ROUNDING = 1e-9  # of a logarithm that should be a whole number of steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Sliver:
    """A run of neighbouring bases of a grid that are all feasible.

    Attributes:
        low: the first of them.
        high: the last; `low` where a single one is feasible.
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """Its last base over its first, 1 for a single one: a step of the grid is not seen."""
        return self.high / self.low


@dataclass(frozen=True, kw_only=True, slots=True)
class Feasible:
    """The feasible bases of a logarithmic grid, for a context of ``length`` tokens.

    Attributes:
        length: in tokens.
        low: the first base of the grid.
        high: its last.
        bases_per_decade: its step.
        share: of its bases that are feasible, 0 to 1.
        slivers: in increasing order, without gaps within.
    """

    length: int
    low: float
    high: float
    bases_per_decade: int
    share: float
    slivers: tuple[Sliver, ...]

    @property
    def from_here_on(self) -> float | None:
        """The base from which on every base of the grid is feasible; None where the last is not."""
        last = self.slivers[-1] if self.slivers else None
        return last.low if last is not None and last.high == self.high else None


def feasible_bases(
    length: int,
    head_dim: int,
    *,
    low: float,
    high: float,
    bases_per_decade: int = BASES_PER_DECADE,
) -> Feasible:
    """Return which bases from ``low`` to ``high`` are feasible for a context ([2]).

    Every base 10^(k / bases_per_decade) between them is decided exactly (`base_is_feasible`), the
    grid of `base_lower_bound`. Feasibility is not monotone in the base: for 8192 tokens and a
    head_dim of 128 a base of 8.4e4 is feasible, which [2] prints as the bound, and some up to 3.9e5
    are not:

    >>> found = feasible_bases(8192, head_dim=128, low=8e4, high=8e6, bases_per_decade=200)
    >>> f"{found.slivers[0].low:.1e} {found.slivers[0].width:.2f} {found.from_here_on:.1e}"
    '8.4e+04 1.00 4.0e+05'

    Raises:
        SpecError: for bases in the wrong order, or a grid of more than `MOST_BASES`.
    """
    length = checked_length("length", length, shortest=1)
    head_dim = checked_head_dim(head_dim)
    low, high = checked_base("low", low), checked_base("high", high)
    if not is_int(bases_per_decade) or bases_per_decade < 1:
        raise SpecError(f"bases_per_decade must be a positive integer, got {bases_per_decade!r}")
    first = math.ceil(bases_per_decade * math.log10(low) - _ROUNDING)
    last = math.floor(bases_per_decade * math.log10(high) + _ROUNDING)
    if not 0 <= last - first < MOST_BASES:
        raise SpecError(
            f"from low to high there must be 1 to {MOST_BASES:,} bases of the grid: got "
            f"low={low:g}, high={high:g} and {bases_per_decade} bases a decade"
        )
    grid = [math.pow(10, k / bases_per_decade) for k in range(first, last + 1)]
    slivers: list[Sliver] = []
    count, before = 0, False
    for base in grid:
        feasible = base_is_feasible(base, length, head_dim)
        if feasible:
            begin = slivers.pop().low if before else base
            slivers.append(Sliver(low=begin, high=base))
            count += 1
        before = feasible
    return Feasible(
        length=length,
        low=grid[0],
        high=grid[-1],
        bases_per_decade=bases_per_decade,
        share=count / len(grid),
        slivers=tuple(slivers),
    )
