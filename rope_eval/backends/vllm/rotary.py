"""The rotary embedding of a vLLM engine under a RopeSpec: two tables, and a row offset a token.

Shape letters: T tokens of a forward pass, N heads, H head_dim, F pairs, R rows of the tables.

Everything a static setting does to a query or a key is a factor of its position, so it is folded
into the cos and sin that multiply it. vLLM keeps rotated keys, hence one base serves a request from
its first token to its last: where the base changes "per_sequence" that of the octave its final
length lies in (an octave: the lengths that share a base). The octaves' tables lie one after
another, and a token's row is its position plus where its request's octave starts.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding

from rope_eval.errors import SpecError, UnsupportedModelError
from rope_eval.rope.rotary import Rotary, rotate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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


class SpecRotary(RotaryEmbedding):
    """vLLM's rotary embedding with our tables; `bound` makes the class that has them.

    Attributes:
        rotary: the setting on this checkpoint.
        tables: its numbers, on the model's device.
        offsets: int64 ``[longest batch]``, the octave's first row for each token: filled in place
            before each forward pass (a captured graph keeps its address), or None where every token
            has the same base.
    """

    rotary: Rotary
    tables: Tables
    offsets: Tensor | None

    def __init__(
        self,
        head_size: int,
        rotary_dim: int,
        max_position_embeddings: int,
        base: float,
        is_neox_style: bool,
        dtype: torch.dtype,
        init_cache: bool = True,
    ):
        super().__init__(
            head_size, rotary_dim, max_position_embeddings, base, is_neox_style, dtype, False
        )
        geometry = self.rotary.geometry
        if not is_neox_style or (head_size, rotary_dim) != (geometry.head_dim, geometry.rotary_dim):
            raise UnsupportedModelError(
                f"vLLM's model rotates {rotary_dim} of {head_size} dimensions "
                f"({'half' if is_neox_style else 'interleaved'} layout), and its config says "
                f"{geometry.rotary_dim} of {geometry.head_dim} (half layout)"
            )
        self._forward_method = self.forward_native
        for name, value in (
            ("query_table", self.tables.query),
            ("key_table", self.tables.key),
            ("unrotated", self.tables.unrotated),
            ("row_offset", self.offsets),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward_native(
        self, positions: Tensor, query: Tensor, key: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Rotate and scale.

        Args:
            positions: int64 ``[T]``.
            query: ``[T, N·H]`` or ``[T, N, H]``.
            key: as query, with its own number of heads.

        Returns:
            New tensors as query and key.
        """
        rows = positions.flatten()
        if self.row_offset is not None:
            rows = rows + self.row_offset[: rows.shape[0]]
        scale = None if self.unrotated is None else self.unrotated.index_select(0, rows)
        rotated = self._rotate(query, rows, self.query_table, scale)
        return rotated, None if key is None else self._rotate(key, rows, self.key_table, None)

    def _rotate(self, x: Tensor, rows: Tensor, table: Tensor, scale: Tensor | None) -> Tensor:
        heads = x.view(rows.shape[0], -1, self.head_size)
        cos, sin = table.index_select(0, rows)[:, None].chunk(2, dim=-1)
        out = rotate(heads, cos, sin)
        if scale is not None:
            rest = (out[..., self.rotary_dim :] * scale[:, None]).to(x.dtype)
            out = torch.cat((out[..., : self.rotary_dim], rest), dim=-1)
        return out.view(x.shape)

    def fill(self, starts: npt.NDArray[np.int64], tokens: npt.NDArray[Any]) -> None:
        """Say in which rows the next forward pass looks.

        Args:
            starts: the first row of each request's octave, in the batch's order.
            tokens: how many tokens of each are in the batch.
        """
        if self.offsets is None:
            return
        offsets = torch.from_numpy(starts.repeat(tokens))
        if self.offsets.is_cuda:
            offsets = offsets.pin_memory()  # a new one each time: the last may still be on its way
        self.offsets[: len(offsets)].copy_(offsets, non_blocking=True)


def bound(rotary: Rotary, tables: Tables, longest_batch: int) -> type[SpecRotary]:
    """Return the class that a model is built with: `SpecRotary` with these numbers.

    Args:
        rotary: the setting on this checkpoint.
        tables: its numbers.
        longest_batch: tokens of the longest forward pass.
    """
    offsets = None
    if len(tables.layout.starts) > 1:
        offsets = torch.zeros(longest_batch, dtype=torch.int64, device=tables.query.device)
    members = {"rotary": rotary, "tables": tables, "offsets": offsets}
    return type("SpecRotary", (SpecRotary,), members)
