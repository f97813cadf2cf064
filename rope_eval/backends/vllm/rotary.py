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
from torch import Tensor, nn

from rope_eval.errors import SpecError
from rope_eval.rope.rotary import Rotary, rotate
from rope_eval.rope.spec import RopeSpec

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


class SpecRotary(nn.Module):
    """What takes the place of a layer's rotary embedding in vLLM's model.

    Attributes:
        rotary: the setting on this checkpoint.
        tables: its numbers.
        interleaved: pair n is made of dimensions 2n and 2n + 1, and not of n and n + F.
        takes: the setting that the layers that have it take, some part of it each; None for those
            that turn as the checkpoint says.
        row_offset: int64 ``[longest batch]``, the octave's first row for each token: filled in
            place before each forward pass (a captured graph keeps its address), or None where every
            token has the same base.
    """

    query_table: Tensor
    key_table: Tensor
    unrotated: Tensor | None
    row_offset: Tensor | None

    def __init__(
        self,
        rotary: Rotary,
        tables: Tables,
        longest_batch: int,
        *,
        interleaved: bool,
        takes: RopeSpec | None,
    ):
        super().__init__()
        self.rotary, self.tables = rotary, tables
        self.interleaved, self.takes = interleaved, takes
        self.head_size = rotary.geometry.head_dim
        self.rotary_dim = rotary.geometry.rotary_dim
        offsets = None
        if len(tables.layout.starts) > 1:
            offsets = torch.zeros(longest_batch, dtype=torch.int64, device=tables.query.device)
        for name, value in (
            ("query_table", tables.query),
            ("key_table", tables.key),
            ("unrotated", tables.unrotated),
            ("row_offset", offsets),
        ):
            self.register_buffer(name, value, persistent=False)

    @classmethod
    def of(
        cls, rotary: Rotary, vllm_config: Any, *, interleaved: bool, takes: RopeSpec | None
    ) -> SpecRotary:
        """Make it for an engine, on its device.

        Raises:
            SpecError: where keys would be scaled out of the range of their type.
        """
        model = vllm_config.model_config
        check_range(rotary, model.max_model_len, model.dtype)
        layout = Layout.of(rotary, model.max_model_len)
        tables = Tables.of(rotary, layout, torch.device(vllm_config.device_config.device))
        longest_batch = vllm_config.scheduler_config.max_num_batched_tokens
        return cls(rotary, tables, longest_batch, interleaved=interleaved, takes=takes)

    def forward(
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
        d = self.rotary_dim
        if self.interleaved:
            heads = torch.cat((heads[..., 0:d:2], heads[..., 1:d:2], heads[..., d:]), dim=-1)
        out = rotate(heads, cos, sin)
        if self.interleaved:
            pairs = torch.stack(out[..., :d].chunk(2, dim=-1), dim=-1)
            out = torch.cat((pairs.flatten(-2), out[..., d:]), dim=-1)
        if scale is not None:
            rest = (out[..., d:] * scale[:, None]).to(x.dtype)
            out = torch.cat((out[..., :d], rest), dim=-1)
        return out.view(x.shape)

    def fill(self, starts: npt.NDArray[np.int64], tokens: npt.NDArray[Any]) -> None:
        """Say in which rows the next forward pass looks.

        Args:
            starts: the first row of each request's octave, in the batch's order.
            tokens: how many tokens of each are in the batch.
        """
        if self.row_offset is None:
            return
        offsets = torch.from_numpy(starts.repeat(tokens))
        if self.row_offset.is_cuda:
            offsets = offsets.pin_memory()  # a new one each time: the last may still be on its way
        self.row_offset[: len(offsets)].copy_(offsets, non_blocking=True)
