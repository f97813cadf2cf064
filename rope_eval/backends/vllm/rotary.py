"""The rotary embedding of a vLLM engine under a RopeSpec: two tables, and a row offset a token.

Shape letters: T tokens of a forward pass, N heads, H head_dim, F pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rope_eval.backends.vllm.tables import Layout, Tables, check_range
from rope_eval.rope.rotary import Rotary, rotate
from rope_eval.rope.spec import RopeSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
