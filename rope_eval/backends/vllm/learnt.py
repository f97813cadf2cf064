"""Models that vLLM runs by transformers' code, made to look like those that it builds itself.

Their rotary module gives cos and sin to every layer, and the layers turn before they call vLLM's
attention. It is replaced by one under which nothing turns, and each attention that a probe shows to
turn by a `LearntRotary`, with the pairs and the table that the probe found.
"""

from __future__ import annotations

import inspect
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.rotary import rotate

TOKENS = 4
FITS = {torch.float32: 1e-4}  # of the largest element of a query
FITS_COARSE = 0.03  # as for the Hugging Face backend


class Positions(nn.Module):
    """In the place of a rotary module: keeps the positions of a pass, and turns nothing.

    Attributes:
        width: the last dimension of cos and sin.
        positions: those of the pass that runs, int64 ``[T]``.
    """

    positions: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, position_ids: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return cos and sin of no angle, ``[1, T, width]``."""
        self.positions = position_ids.flatten()
        ones = torch.ones(1, len(self.positions), self.width, dtype=x.dtype, device=x.device)
        return ones, torch.zeros_like(ones)


class LearntRotary(nn.Module):
    """What a layer was seen to turn by, as vLLM's own rotary embeddings say it.

    Attributes:
        head_size: dimensions of a head.
        rotary_dim: those of them that turn.
        is_neox_style: whether pair n is made of dimensions n and n + F.
        cos_sin_cache: cos and sin of the first positions in the model's type, ``[TOKENS, 2F]``.
    """

    def __init__(self, head_size: int, table: Tensor, *, is_neox_style: bool):
        super().__init__()
        self.head_size, self.rotary_dim = head_size, table.shape[1]
        self.is_neox_style = is_neox_style
        self.cos_sin_cache = table

    def forward(self, positions: Tensor, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Turn queries and keys ``[T, N·H]`` of the first positions."""
        cos, sin = self.cos_sin_cache[positions].float()[:, None].chunk(2, dim=-1)
        return self._turned(query, cos, sin), self._turned(key, cos, sin)

    def is_like(self, other: LearntRotary) -> bool:
        """Tell whether another turns alike."""
        return (
            self.head_size == other.head_size
            and self.is_neox_style == other.is_neox_style
            and torch.equal(self.cos_sin_cache, other.cos_sin_cache)
        )

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads, d = x.view(len(x), -1, self.head_size), self.rotary_dim
        if self.is_neox_style:
            return rotate(heads, cos, sin).view(x.shape)
        turning = torch.cat((heads[..., 0:d:2], heads[..., 1:d:2]), dim=-1)
        pairs = torch.stack(rotate(turning, cos, sin).chunk(2, dim=-1), dim=-1).flatten(-2)
        return torch.cat((pairs, heads[..., d:]), dim=-1).view(x.shape)


class Turning(nn.Module):
    """vLLM's attention of a layer, with the rotary embedding that comes before it."""

    def __init__(self, attention: nn.Module, rotary: LearntRotary, at: list[Positions]):
        super().__init__()
        self.attention: Any = attention
        self.rotary = rotary
        self.at = at  # a list: the module is elsewhere in the model

    @property
    def has_sink(self) -> bool:
        """Whether the attention has sinks, as transformers' side of vLLM asks."""
        return bool(self.attention.has_sink)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Any:
        """Turn queries and keys ``[T, N·H]`` and attend."""
        query, key = self.rotary(self.at[0].positions, query, key)
        return self.attention(query, key, value)

    def probe(self, positions: Tensor, hidden: Tensor) -> None:
        """Run it on queries and keys made of hidden states ``[T, D]``."""
        a = self.attention
        query, key = (
            hidden[:, :1].expand(-1, n * a.head_size) for n in (a.num_heads, a.num_kv_heads)
        )
        with patch.object(self.at[0], "positions", positions):
            self(query.contiguous(), key.contiguous(), key.contiguous())


def learn(model: nn.Module, config: Any, hidden: Tensor) -> None:
    """Replace the rotary module of a model, and the attentions that turn by it.

    Args:
        model: as vLLM built it of transformers' code.
        config: its config.
        hidden: hidden states ``[TOKENS, D]`` for the probe.

    Raises:
        UnsupportedModelError: for a model that turns in a way that is not served.
    """
    from vllm.model_executor.layers.attention import Attention

    places = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if _is_rotary(module)
    ]
    layers = [
        (parent, name, module)
        for parent in model.modules()
        for name, module in parent.named_children()
        if isinstance(module, Attention)
    ]
    types = getattr(config, "layer_types", None) or [None] * len(layers)
    if len(places) != 1 or len(types) != len(layers):
        raise _refused(f"{len(places)} rotary modules and {len(layers)} attentions")
    parent, name, stock = places[0]
    tables = {kind: _table(stock, kind, hidden) for kind in set(types)}
    at = Positions(next(iter(tables.values()))[0].shape[-1])
    setattr(parent, name, at)
    positions = torch.arange(TOKENS, device=hidden.device)
    known: list[LearntRotary] = []  # layers that turn alike share one
    for (module, attribute, attention), kind in zip(layers, types, strict=True):
        still = _attended(module, attention, at(hidden, positions[None]), hidden)
        turned = _attended(module, attention, tables[kind], hidden)
        if all(map(torch.equal, still, turned)):
            continue
        rotary = _fitting(tables[kind], attention.head_size, positions, still, turned)
        rotary = next((other for other in known if other.is_like(rotary)), rotary)
        known.append(rotary)
        setattr(module, attribute, Turning(attention, rotary, [at]))


def _is_rotary(module: nn.Module) -> bool:
    takes = inspect.signature(module.forward).parameters
    own = [name for name, _ in module.named_buffers(recurse=False)]
    return "position_ids" in takes and any(name.endswith("inv_freq") for name in own)


def _table(stock: nn.Module, kind: str | None, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the first positions, ``[1, TOKENS, width]``."""
    positions = torch.arange(TOKENS, device=hidden.device)[None]
    by_type = "layer_type" in inspect.signature(stock.forward).parameters
    cos, sin = stock(hidden[None], positions, **({"layer_type": kind} if by_type else {}))
    return cos, sin


def _attended(
    module: nn.Module, attention: nn.Module, tables: tuple[Tensor, Tensor], hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the queries and keys ``[T, N·H]`` that attend under a table."""
    found: list[tuple[Tensor, Tensor]] = []

    def attend(query: Tensor, key: Tensor, *_: Any, **__: Any) -> Tensor:
        found.append((query, key))
        return torch.zeros_like(query)

    with patch.object(attention, "forward", attend), torch.inference_mode():
        try:
            module(hidden_states=hidden[None], position_embeddings=tables, attention_mask=None)
        except Exception as error:  # a layer is any code
            raise _refused(f"a layer that a probe cannot run ({error})") from error
    if len(found) != 1:
        raise _refused(f"a layer that attends {len(found)} times")
    return found[0]


def _fitting(
    table: tuple[Tensor, Tensor],
    head_size: int,
    positions: Tensor,
    still: tuple[Tensor, Tensor],
    turned: tuple[Tensor, Tensor],
) -> LearntRotary:
    """Return the way of turning that explains what a layer did."""
    cos, sin = table[0][0], table[1][0]
    F = min(cos.shape[1], head_size) // 2
    tolerance = FITS.get(still[0].dtype, FITS_COARSE)
    firsts, every_other, whole = slice(F), slice(0, None, 2), slice(None)
    for is_neox_style, kept in product((True, False), (firsts, every_other, whole)):
        own = torch.cat((cos[:, kept], sin[:, kept]), dim=-1)
        if own.shape[1] > head_size:
            continue
        rotary = LearntRotary(head_size, own, is_neox_style=is_neox_style)
        found = rotary(positions, *still)
        if all(
            float((a - b).abs().max()) <= tolerance * float(b.abs().max())
            for a, b in zip(found, turned, strict=True)
        ):
            return rotary
    raise _refused("a layer that turns in a way that is not known")


def _refused(what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"vLLM runs this model by transformers' code, and it has {what}, which is not served with "
        "a RopeSpec: use backend=hf"
    )
