"""Exact attention of a block of queries at the end of its keys, without computing what is masked.

Shape letters: B batch, N query heads, M key-value heads, G = N / M, Q queries, K keys, H head_dim,
V dimensions of a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from rope_eval.backends.hf.flash import calls_package

LONGEST_BLOCK = 1024  # queries of a window's block
SCORES_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True)
class Scores:
    """What becomes of the products of queries and keys before the softmax.

    Attributes:
        scale: what they are multiplied by.
        softcap: what they are capped by, c·tanh(score / c).
        sinks: scores of one more key, of value 0, that each head sees: ``[N]``.
    """

    scale: float
    softcap: float | None = None
    sinks: Tensor | None = None

    @property
    def are_changed(self) -> bool:
        """Whether they are more than scaled, so that they have to be held."""
        return self.softcap is not None or self.sinks is not None


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, scores: Scores, window: int | None = None
) -> Tensor:
    """Attend causally, the last query being at the last key.

    Args:
        query: ``[B, N, Q, H]``.
        key: ``[B, M, K, H]``, K ≥ Q, N a multiple of M.
        value: ``[B, M, K, V]``.
        scores: what becomes of the products.
        window: how many keys a query sees, its own included; None for all before it.

    Returns:
        ``[B, N, Q, V]``.
    """
    scale = scores.scale
    if window is not None and window >= key.shape[2]:
        window = None
    if query.device.type == "cuda" and scores.sinks is None:
        plain = window is None and not scores.are_changed
        if calls_package(query, value, plain=plain):
            return flash_attn(query, key, value, scores, window)
    if scores.are_changed:
        return _by_blocks(query, key, value, scores, window)
    V = value.shape[3]
    query, key, value = same_width(query, key, value)
    Q, K = query.shape[2], key.shape[2]
    q, k, v = share_heads(query, key, value)
    if window is not None:
        out = _windowed(q, k, v, scale, window)
    elif Q == 1:
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    elif Q == K:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    elif query.device.type == "cpu" and not wants_gradients(q, k, v):
        out = _past_and_diagonal(q, k, v, scale)
    else:
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=causal_lower_right(Q, K), scale=scale
        )
    return out.reshape(query.shape)[..., :V]


def wants_gradients(*tensors: Tensor) -> bool:
    """Tell whether autograd follows: what is merged by its log-sum-exp would give wrong ones."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def masked_attention(
    query: Tensor, key: Tensor, value: Tensor, scores: Scores, mask: Tensor
) -> Tensor:
    """Attend where the mask ``[B, 1, Q, K]`` is True: for the padded batches of short tasks."""
    if scores.are_changed:
        return _by_blocks(query, key, value, scores, None, mask)
    V = value.shape[3]
    query, key, value = same_width(query, key, value)
    q, k, v = share_heads(query, key, value)
    mask = mask.repeat_interleave(key.shape[1], dim=0)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scores.scale)
    return out.reshape(query.shape)[..., :V]


def same_width(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fill up with zeros what is narrower, values or queries and keys: no kernel takes them so."""
    more = query.shape[3] - value.shape[3]
    if more > 0:
        return query, key, F.pad(value, (0, more))
    if more < 0:
        return F.pad(query, (0, -more)), F.pad(key, (0, -more)), value
    return query, key, value


def share_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make each key-value head a batch row that its G query heads share, without a copy."""
    B, N, Q, H = query.shape
    M, G = key.shape[1], N // key.shape[1]
    k, v = (
        x.reshape(B * M, 1, -1, x.shape[3]).expand(B * M, G, -1, x.shape[3]) for x in (key, value)
    )
    return query.reshape(B * M, N // M, Q, H), k, v


def _windowed(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int) -> Tensor:
    """Attend block by block, each to the keys that its windows reach: O(Q · window)."""
    Q, K = q.shape[2], k.shape[2]
    size = min(max(window, 128), LONGEST_BLOCK)
    parts = []
    for start in range(0, Q, size):
        stop = min(start + size, Q)
        first, last = max(0, K - Q + start - window + 1), K - Q + stop
        seen = _band(stop - start, last - first, window, q.device)
        parts.append(
            F.scaled_dot_product_attention(
                q[:, :, start:stop],
                k[:, :, first:last],
                v[:, :, first:last],
                attn_mask=seen,
                scale=scale,
            )
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _band(Q: int, K: int, window: int | None, device: torch.device) -> Tensor:
    """Return which keys each of the last Q queries sees, bool ``[Q, K]``."""
    seen = torch.ones(Q, K, dtype=torch.bool, device=device).tril(K - Q)
    return seen if window is None else seen.triu(K - Q - window + 1)


def _by_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scores: Scores,
    window: int | None,
    mask: Tensor | None = None,
) -> Tensor:
    """Attend with scores that are held for a block of queries at a time, capped or with sinks."""
    B, N, Q, _ = query.shape
    K = key.shape[2]
    q, k, v = share_heads(query, key, value)
    reach = K if window is None else min(K, window + 128)
    size = max(1, min(Q, SCORES_AT_ONCE // (B * N * reach)))
    parts = []
    for start in range(0, Q, size):
        stop = min(start + size, Q)
        first = 0 if window is None else max(0, K - Q + start - window + 1)
        last = K if mask is not None else K - Q + stop
        some = q[:, :, start:stop] @ k[:, :, first:last].transpose(2, 3) * scores.scale
        if scores.softcap is not None:
            some = (some / scores.softcap).tanh() * scores.softcap
        some = some.reshape(B, N, stop - start, -1).float()
        if mask is None:
            seen = _band(stop - start, last - first, window, q.device)
        else:
            seen = mask[:, :, start:stop]
        some = some.masked_fill(~seen, -torch.inf)
        if scores.sinks is not None:
            column = scores.sinks.float().reshape(1, N, 1, 1).expand(B, N, stop - start, 1)
            some = torch.cat((some, column), dim=-1)
        weights = some.softmax(-1).to(value.dtype)[..., : last - first]
        shared = weights.reshape(*q.shape[:2], stop - start, -1)
        parts.append((shared @ v[:, :, first:last]).reshape(B, N, stop - start, -1))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _past_and_diagonal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attend to the past without a mask and to the own block causally; merge by log-sum-exp."""
    past = k.shape[2] - q.shape[2]
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out_past, lse_past = flash(q, k[:, :, :past], v[:, :, :past], scale=scale)
    out_own, lse_own = flash(q, k[:, :, past:], v[:, :, past:], is_causal=True, scale=scale)
    weight = torch.sigmoid(lse_past - lse_own)[..., None]
    out_own, out_past = out_own.to(weight.dtype), out_past.to(weight.dtype)
    return torch.lerp(out_own, out_past, weight).to(q.dtype)


def flash_attn(
    query: Tensor, key: Tensor, value: Tensor, scores: Scores, window: int | None
) -> Tensor:
    """Return what `causal_attention` does, by flash-attn."""
    from flash_attn import flash_attn_func

    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    options: dict[str, Any] = {} if scores.softcap is None else {"softcap": scores.softcap}
    if window is not None:
        options["window_size"] = (window - 1, 0)
    return flash_attn_func(q, k, v, softmax_scale=scores.scale, causal=True, **options).transpose(
        1, 2
    )
