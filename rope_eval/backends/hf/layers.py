"""What was learnt of a model's attention layers: values, without a module or a name of a family.

Shape letters: B batch, T tokens, N heads, H head_dim, F pairs of dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_eval.rope.geometry import RotaryGeometry
from rope_eval.rope.rotary import TOKENS_AT_ONCE, rotate


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which dimensions of a head make the pairs that turn.

    Attributes:
        pairs: F.
        offset: the first dimension that turns.
        interleaved: pair n is made of dimensions 2n and 2n + 1 past the offset, and not of n and
            n + F.
        backwards: pairs turn the other way about: the second dimension of each is the first.
    """

    pairs: int
    offset: int = 0
    interleaved: bool = False
    backwards: bool = False

    def canonical(self, x: Tensor) -> Tensor:
        """Return x ``[…, H]`` with the first dimensions of the pairs first, then the second ones.

        Queries and keys so ordered have the products that they had.
        """
        if self.offset == 0 and not self.interleaved and not self.backwards:
            return x
        end = self.offset + 2 * self.pairs
        turning = x[..., self.offset : end]
        if self.interleaved:
            halves = turning[..., 0::2], turning[..., 1::2]
        else:
            halves = turning[..., : self.pairs], turning[..., self.pairs :]
        if self.backwards:
            halves = halves[1], halves[0]
        return torch.cat((*halves, x[..., : self.offset], x[..., end:]), dim=-1)

    def turn_to(self, out: Tensor, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate x ``[B, M, T, H]``, as `canonical` orders it, a block of tokens at a time.

        Args:
            out: what is written and returned, shaped as x, and no part of it.
            x: not yet in that order.
            cos: ``[…, T, F]``, as sin.
            sin: of each angle.
        """
        for start in range(0, x.shape[2], TOKENS_AT_ONCE):
            some = slice(start, start + TOKENS_AT_ONCE)
            out[:, :, some] = rotate(
                self.canonical(x[:, :, some]), cos[..., some, :], sin[..., some, :]
            )
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """Which keys a query sees: all before it, the last ones, or those of its own chunk.

    Attributes:
        window: how many keys, its own included; None for no window.
        chunk: tokens of a chunk; None for no chunks.
    """

    window: int | None = None
    chunk: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether a query sees every key before it."""
        return self.window is None and self.chunk is None

    def first_key(self, position: int) -> int:
        """Return the first position that the query at a position sees."""
        if self.window is not None:
            return max(position - self.window + 1, 0)
        return 0 if self.chunk is None else position // self.chunk * self.chunk

    def first_keys(self, positions: Tensor) -> Tensor:
        """Return the first positions that queries see, int64 as theirs."""
        if self.window is not None:
            return (positions - self.window + 1).clamp(min=0)
        if self.chunk is not None:
            return positions // self.chunk * self.chunk
        return torch.zeros_like(positions)

    def end(self, position: int) -> float:
        """Return where the queries end that share a first key, if the pattern has such borders."""
        return math.inf if self.chunk is None else self.first_key(position) + self.chunk

    def sees(self, queries: Tensor, keys: Tensor, *, slots: tuple[Tensor, Tensor]) -> Tensor:
        """Return which keys each query sees by the pattern, bool ``[B, Q, K]``; causality apart.

        Args:
            queries: their positions, int64 ``[B, Q]``.
            keys: theirs, int64 ``[B, K]``.
            slots: the places of queries and keys in their rows, padding included: a window is
                counted in places, as transformers does.
        """
        if self.window is not None:
            q, k = slots
            return (k > q[:, None] - self.window)[None]
        assert self.chunk is not None
        return keys[:, None, :] // self.chunk == queries[:, :, None] // self.chunk

    def __str__(self) -> str:
        if self.window is not None:
            return f"a window of {self.window}"
        return "all before" if self.chunk is None else f"chunks of {self.chunk}"


FULL = Pattern()


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a rotary module returns where nothing is to turn: its shape and type, one or zero.

    Attributes:
        ones: of each tensor that it returns, whether its elements are one (a cosine).
        is_tuple: whether it returns a tuple of them, or one alone.
        width: the last dimension.
        dtype: of the tensors; None where it is that of the hidden states.
    """

    ones: tuple[bool, ...]
    is_tuple: bool
    width: int
    dtype: torch.dtype | None

    def of(self, x: Tensor, position_ids: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return it for hidden states and positions ``[…, B, T]``, each tensor of one element."""
        shape = (*position_ids.shape[-2:], self.width)
        made = tuple(
            torch.full((1, 1, 1), float(one), dtype=self.dtype or x.dtype, device=x.device).expand(
                shape
            )
            for one in self.ones
        )
        return made if self.is_tuple else made[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of angles that a model has.

    Attributes:
        module: the name of the rotary module that makes it.
        layer_type: what the module is asked for, where it makes several.
        identity: what takes its place.
        geometry: what the checkpoint says of it.
    """

    module: str
    layer_type: str | None
    identity: Identity
    geometry: RotaryGeometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """An attention layer.

    Attributes:
        module: the name of its attention module.
        number: by which number it asks a cache, None where it has none.
        block: which of the model's decoder layers it is in.
        table: by which of the model's tables it turns; None for a layer that does not.
        layout: which dimensions turn, None likewise.
        pattern: which keys its queries see.
        caches_keys: whether what it puts into a cache are the keys that it attends with, and not
            something that they are made from.
        norms: the names of the modules that normalise its queries and its keys after they turned:
            their weights do not commute with turning.
    """

    module: str
    number: int | None
    block: int
    table: int | None
    layout: Layout | None
    pattern: Pattern
    caches_keys: bool
    norms: tuple[str, str] | None = None
