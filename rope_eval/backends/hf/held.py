"""Attention from one query in each row, whose scores are held: they are few.

Shape letters: B batch, N query heads, M key-value heads, G = N / M, K keys, H head_dim,
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
    plain = scores.sinks is None and mask is None
    if on_cuda and plain and calls_package(query, value, plain=False):  # it splits the keys
        return flash_attn(query, key, value, scores, None)
    B, N, _, _ = query.shape
    M, V = key.shape[1], value.shape[3]
    precise = query.dtype in (torch.float32, torch.float64)
    if scores.are_changed or (precise and not on_cuda and N == M):
        return held_attention([(query, key)], value, scores, mask)
    query, key, value = same_width(query, key, value)
    q = query.reshape(B, M, N // M, query.shape[3])  # heads that share keys as queries of one
    added = None if mask is None else mask.to(query.dtype)
    out = F.scaled_dot_product_attention(q, key, value, attn_mask=added, scale=scores.scale)
    return out.reshape(B, N, 1, -1)[..., :V]


def held_attention(
    meetings: Iterable[tuple[Tensor, Tensor]], value: Tensor, scores: Scores, mask: Tensor | None
) -> Tensor:
    """Attend from one query in each row, which some keys meet otherwise turned than others.

    Args:
        meetings: the query as it meets some keys, ``[B, N, 1, H]``, and these, ``[B, M, k, H]``;
            all of them together are the K keys.
        value: ``[B, M, K, V]``.
        scores: what becomes of the products.
        mask: float ``[B, 1, 1, K]``, added to them; None where all keys are seen.

    Returns:
        ``[B, N, 1, V]``, as the values.
    """
    B, M, K, _ = value.shape
    products = [_products(q.to(k.dtype) * scores.scale, k) for q, k in meetings]
    held = torch.cat(products, dim=-1) if len(products) > 1 else products[0]
    N = held.shape[1]
    if scores.softcap is not None:
        held = (held / scores.softcap).tanh() * scores.softcap
    if mask is not None:
        held = held + mask
    if scores.sinks is not None:
        column = scores.sinks.to(held.dtype).reshape(1, N, 1, 1).expand(B, N, 1, 1)
        held = torch.cat((held, column), dim=-1)
    precise = torch.promote_types(held.dtype, torch.float32)
    weights = held.softmax(-1, dtype=precise)
    if scores.sinks is not None:
        weights = weights[..., :K]
    out = weights.to(value.dtype).reshape(B, M, N // M, K) @ value
    return out.reshape(B, N, 1, -1)


def _products(query: Tensor, key: Tensor) -> Tensor:
    """Return ``[B, N, 1, K]``: of each query ``[B, N, 1, H]`` with the keys ``[B, M, K, H]``."""
    B, N, _, H = query.shape
    if key.shape[1] == N:  # a matrix by a column: a third sooner on CPUs than a row by a matrix
        return (key @ query.transpose(2, 3)).transpose(2, 3)
    shared = query.reshape(B, key.shape[1], -1, H) @ key.transpose(2, 3)
    return shared.reshape(B, N, 1, -1)
