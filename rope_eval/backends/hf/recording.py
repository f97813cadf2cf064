"""What reaches a model's attention, recorded: the probe's eyes.

While a model is recorded its attention returns the mean of nothing but each token's own values. So
its hidden states are the same, bit for bit, whatever its rotary modules return, and each layer can
be compared alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from rope_eval.backends.hf.masks import MaskFunction
from rope_eval.backends.hf.overrides import attend_by, override
from rope_eval.backends.hf.tables import arguments_of

NAME = "rope_eval_probe"  # in transformers' attention and mask interfaces

Turn = Callable[[str, str | None], Callable[..., Any]]
"""Of a rotary module's name and the type of layer: what makes that table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of an attention function.

    Attributes:
        module: the attention module.
        query: ``[B, N, Q, H]``.
        key: ``[B, M, K, H]``.
        value: as key.
        mask: the number of the mask function in `Recorded.masks`, or None where no mask, or one of
            the model's own, reached it.
        own_mask: whether a mask did that the model made itself.
        keywords: whatever else.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: int | None
    own_mask: bool
    keywords: dict[str, Any]


@dataclass(kw_only=True, slots=True)
class Recorded:
    """One forward pass: calls of the attention function, mask functions, and tables asked for."""

    calls: list[Call] = field(default_factory=list)
    masks: list[MaskFunction] = field(default_factory=list)
    tables: list[tuple[str, str | None]] = field(default_factory=list)


_RECORDED: ContextVar[Recorded] = ContextVar("recorded")


@contextmanager
def recording(model: nn.Module, rotaries: dict[str, nn.Module], turn: Turn) -> Iterator[Recorded]:
    """Record what reaches a model's attention, with these tables in its rotary modules' place.

    Args:
        model: the whole model.
        rotaries: its rotary modules by name.
        turn: returns what makes a table.
    """
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    recorded = Recorded()
    token = _RECORDED.set(recorded)
    try:
        with ExitStack() as undo:
            attend_by(undo, model, NAME)
            for name, rotary in rotaries.items():
                override(undo, rotary, "forward", _forward(name, rotary, turn, recorded))
            yield recorded
    finally:
        _RECORDED.reset(token)


def _forward(name: str, rotary: nn.Module, turn: Turn, recorded: Recorded) -> Callable[..., Any]:
    read = arguments_of(rotary)

    def forward(*args: Any, **kwargs: Any) -> Any:
        table = (name, read(args, kwargs)[2])
        recorded.tables.append(table)
        return turn(*table)(*args, **kwargs)

    return forward


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **keywords: Any,
) -> tuple[Tensor, None]:
    ours = attention_mask is not None and attention_mask.dtype == torch.int64
    _RECORDED.get().calls.append(
        Call(
            module=module,
            query=query,
            key=key,
            value=value,
            mask=int(attention_mask.flatten()[0]) if ours else None,  # type: ignore[union-attr]
            own_mask=attention_mask is not None and not ours,
            keywords=keywords,
        )
    )
    shared = query.shape[1] // value.shape[1]
    own = value[:, :, -query.shape[2] :].repeat_interleave(shared, dim=1)
    return own.transpose(1, 2).contiguous(), None


def _mask(
    batch_size: int, q_length: int, kv_length: int, mask_function: MaskFunction, **kwargs: Any
) -> Tensor:
    masks = _RECORDED.get().masks
    masks.append(mask_function)
    number = torch.full((1, 1, 1, 1), len(masks) - 1, device=kwargs.get("device"))
    return number.expand(batch_size, 1, q_length, kv_length)
