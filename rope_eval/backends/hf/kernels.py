"""Exact attention of a block of queries at the end of its keys, without computing what is masked.

Shape letters: B batch, N query heads, M key-value heads, G = N / M, Q queries, K keys, H head_dim.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

FLASH_ATTN_LONGEST_HEAD = 256


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attend causally, the last query being at the last key.

    Args:
        query: ``[B, N, Q, H]``.
        key: ``[B, M, K, H]``, K ≥ Q, N a multiple of M.
        value: as key.
        scale: what scores are multiplied by before the softmax.

    Returns:
        ``[B, N, Q, H]``.
    """
    if query.device.type == "cuda" and _flash_attn_takes(query):
        return _flash_attn(query, key, value, scale)
    Q, K = query.shape[2], key.shape[2]
    q, k, v = _share_heads(query, key, value)
    if Q == 1:
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    elif Q == K:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    elif query.device.type == "cpu":
        out = _past_and_diagonal(q, k, v, scale)
    else:
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=causal_lower_right(Q, K), scale=scale
        )
    return out.reshape(query.shape)


def masked_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """Attend where the mask ``[B, 1, Q, K]`` is True: for the padded batches of short tasks."""
    q, k, v = _share_heads(query, key, value)
    mask = mask.repeat_interleave(key.shape[1], dim=0)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).reshape(query.shape)


def _share_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make each key-value head a batch row that its G query heads share, without a copy."""
    B, N, Q, H = query.shape
    M = key.shape[1]
    shared = (B * M, N // M, -1, H)
    k, v = (x.reshape(B * M, 1, -1, H).expand(shared) for x in (key, value))
    return query.reshape(B * M, N // M, Q, H), k, v


def _past_and_diagonal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attend to the past without a mask and to the own block causally; merge by log-sum-exp."""
    past = k.shape[2] - q.shape[2]
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out_past, lse_past = flash(q, k[:, :, :past], v[:, :, :past], scale=scale)
    out_own, lse_own = flash(q, k[:, :, past:], v[:, :, past:], is_causal=True, scale=scale)
    weight = torch.sigmoid(lse_past - lse_own)[..., None]
    out_own, out_past = out_own.to(weight.dtype), out_past.to(weight.dtype)
    return torch.lerp(out_own, out_past, weight).to(q.dtype)


@functools.cache
def _flash_attn_is_installed() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def _flash_attn_takes(query: Tensor) -> bool:
    return (
        query.dtype in (torch.float16, torch.bfloat16)
        and query.shape[-1] <= FLASH_ATTN_LONGEST_HEAD
        and _flash_attn_is_installed()
    )


def _flash_attn(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    from flash_attn import flash_attn_func

    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return flash_attn_func(q, k, v, softmax_scale=scale, causal=True).transpose(1, 2)
