"""What an engine's queries and keys are multiplied by at each position, computed from float64.

Shape letters: F pairs, R rows of the tables.

Everything a static setting does to a query or a key is a factor of its position, so it is folded
into the cos and sin that multiply it. vLLM keeps rotated keys, hence one base serves a request from
its first token to its last: where the base changes "per_sequence" that of the octave its final
length lies in (an octave: the lengths that share a base). The octaves' tables lie one after
another, and a token's row is its position plus where its request's octave starts.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_eval.errors import SpecError
from rope_eval.rope.rotary import Rotary

ROWS_AT_ONCE = 65536
LARGEST_SCALE = {torch.float16: 2.0**8}  # of a pair of a key; half precision ends at 2¹⁶
LARGEST_SCALE_ELSEWHERE = 2.0**50


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where each octave's rows are, for requests of at most `max_length` tokens.

    Attributes:
        max_length: the engine's max_model_len.
        borders: the longest final length in each octave but the last.
        starts: the first row of each octave.
    """

    max_length: int
    borders: tuple[int, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, rotary: Rotary, max_length: int) -> Layout:
        """Lay out the octaves that sequences of up to `max_length` tokens can be in."""
        borders: list[int] = []
        if rotary.schedule is not None:
            while (end := rotary.schedule.end(borders[-1] + 1 if borders else 1)) < max_length:
                borders.append(int(end))
        starts = [0]
        for border in borders:
            starts.append(starts[-1] + border)
        return cls(max_length=max_length, borders=tuple(borders), starts=tuple(starts))

    def octave(self, length: int) -> int:
        """Return the octave of a final length."""
        return bisect_left(self.borders, length)

    def start(self, length: int) -> int:
        """Return the first row of the octave of a final length."""
        return self.starts[self.octave(length)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """What queries and keys are multiplied by, float32.

    Attributes:
        query: cos and sin, beside each other: ``[R, 2F]``.
        key: as query; the same tensor where nothing sets them apart.
        unrotated: the factor of a query's dimensions that are not rotated ``[R, 1]``, or None.
        layout: where the octaves are.
    """

    query: Tensor
    key: Tensor
    unrotated: Tensor | None
    layout: Layout

    @classmethod
    def of(cls, rotary: Rotary, layout: Layout, device: torch.device) -> Tables:
        """Compute the tables of a setting from float64."""
        octaves = [
            _octave(rotary, layout.max_length, rows, device)
            for rows in (*layout.borders, layout.max_length)
        ]
        query = torch.cat([query for query, _, _ in octaves])
        same = not rotary.scales_queries and not rotary.scales_pairs
        key = query if same else torch.cat([key for _, key, _ in octaves])
        rotated = 2 * rotary.pairs == rotary.geometry.head_dim
        unrotated = torch.cat([scale for _, _, scale in octaves])
        return cls(
            query=query,
            key=key,
            unrotated=None if rotated or not rotary.scales_queries else unrotated,
            layout=layout,
        )


def _octave(
    rotary: Rotary, max_length: int, rows: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tables of the octave whose longest sequence has `rows` tokens.

    They are those of queries and of keys, and the factor of a query's unrotated dimensions.
    """
    F = rotary.pairs
    query = torch.cat(rotary.table(rotary.alpha(rows), rows, device), dim=-1)
    key = query.clone()
    unrotated = torch.ones(rows, 1, device=device)
    centre = max_length // 2
    for first in range(0, rows, ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        positions = torch.arange(first, min(some.stop, rows), device=device)
        if rotary.scales_queries:
            scale = rotary.query_scale(positions)
            query[some] *= scale[:, : 2 * F]
            unrotated[some] = scale[:, -1:]
        if rotary.scales_pairs:
            query[some] *= rotary.pair_scale(positions - centre).repeat(1, 2)
            key[some] *= rotary.pair_scale(centre - positions).repeat(1, 2)
    return query, key, unrotated


def check_range(rotary: Rotary, max_length: int, dtype: torch.dtype) -> None:
    """Raise `SpecError` where pairs of keys would be scaled out of the range of their type."""
    if not rotary.scales_pairs:
        return
    largest = float(rotary.pair_scale(torch.tensor(-(max_length // 2))).max())
    limit = LARGEST_SCALE.get(dtype, LARGEST_SCALE_ELSEWHERE)
    if largest > limit:
        raise SpecError(
            f"{rotary.spec}, with a reference length of {rotary.reference_length:.0f}, would scale "
            f"keys by up to {largest:.3g} in {str(dtype).removeprefix('torch.')} at max_model_len="
            f"{max_length}: {limit:g} is the most. Lower max_model_len, or use dtype=bfloat16"
        )
