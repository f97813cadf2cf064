"""Attention from one query in each row, whose scores are held: they are few.

Shape letters: B batch, N query heads, M key-value heads, G = N / M, R regions, K keys, H head_dim,
V dimensions of a value.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from rope_eval.backends.hf.flash import calls_package
from rope_eval.backends.hf.kernels import Scores, flash_attn, same_width


def step_attention(
    query: Tensor, key: Tensor, value: Tensor, scores: Scores, mask: Tensor | None
) -> Tensor:
    """Attend from one query in each row, in whatever way is the fastest where it is.

    Args:
        query: ``[B, N, 1, H]``.
        key: ``[B, M, K, H]``, N a multiple of M.
        value: ``[B, M, K, V]``.
        scores: what becomes of the products.
        mask: float ``[B, 1, 1, K]``, added to them; None where all keys are seen.

    Returns:
        ``[B, N, 1, V]``.
    """
    on_cuda = query.device.type == "cuda"
    if on_cuda and scores.sinks is None and mask is None:
        if calls_package(query, value, plain=False):  # it splits the keys of one query
            return flash_attn(query, key, value, scores, None)
    precise = query.dtype in (torch.float32, torch.float64)
    if scores.are_changed or (precise and not on_cuda):
        return held_attention(query, [key], value, scores, mask)
    B, N, _, _ = query.shape
    M, V = key.shape[1], value.shape[3]
    query, key, value = same_width(query, key, value)
    q = query.reshape(B, M, N // M, query.shape[3])  # heads that share keys as queries of one
    added = None if mask is None else mask.to(query.dtype)
    out = F.scaled_dot_product_attention(q, key, value, attn_mask=added, scale=scores.scale)
    return out.reshape(B, N, 1, -1)[..., :V]


def held_attention(
    query: Tensor,
    keys: Iterable[Tensor],
    value: Tensor,
    scores: Scores,
    mask: Tensor | None,
    region: Tensor | None = None,
) -> Tensor:
    """Attend from one query in each row, which the keys of some regions meet otherwise turned.

    Args:
        query: as each region meets it, ``[B, N, R, H]``.
        keys: in blocks ``[B, M, k, H]``, together K; each is used up before the next is asked for.
        value: ``[B, M, K, V]``.
        scores: what becomes of the products.
        mask: float ``[B, 1, 1, K]``, added to them; None where all keys are seen.
        region: of each key, int64 ``[B or 1, 1, 1, K]``; None where there is one.

    Returns:
        ``[B, N, 1, V]``, as the values.
    """
    B, N, R, H = query.shape
    M = value.shape[1]
    q = query.reshape(B, M, N // M * R, H)
    held = torch.cat([q.to(k.dtype) @ k.transpose(2, 3) for k in keys], dim=-1)
    held = held.reshape(B, N, R, -1) * scores.scale
    if region is not None:
        held = held.gather(2, region.expand(B, N, 1, -1))
    if scores.softcap is not None:
        held = (held / scores.softcap).tanh() * scores.softcap
    if mask is not None:
        held = held + mask
    if scores.sinks is not None:
        column = scores.sinks.to(held.dtype).reshape(1, N, 1, 1).expand(B, N, 1, 1)
        held = torch.cat((held, column), dim=-1)
    precise = torch.promote_types(held.dtype, torch.float32)
    weights = held.softmax(-1, dtype=precise)[..., : value.shape[2]]
    out = weights.to(value.dtype).reshape(B, M, N // M, -1) @ value
    return out.reshape(B, N, 1, -1)
