"""Exact attention in regions that are turned differently, merged by their log-sum-exp.

Shape letters: B batch, N query heads, M key-value heads, Q queries, K keys, H head_dim, V
dimensions of a value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rope_eval.backends.hf.kernels import Scores, same_width, share_heads, wants_gradients
from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.position_maps import Region


def merged_attention(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    value: Tensor,
    scores: Scores,
    blocks: Sequence[Sequence[Region]],
    first: int,
) -> Tensor:
    """Attend block by block, each region with its own copies of queries and keys.

    Args:
        queries: turned by each map of the queries, ``[B, N, Q, H]``.
        keys: turned by each map of the keys, ``[B, M, K, H]``, from position 0 on.
        value: ``[B, M, K, V]``.
        scores: what becomes of the products.
        blocks: the regions of each block, which are all the queries in their order.
        first: the position of the first query.

    Returns:
        ``[B, N, Q, V]``.

    Raises:
        UnsupportedModelError: where gradients are wanted: a log-sum-exp carries none.
    """
    if wants_gradients(*queries, *keys, value):
        raise UnsupportedModelError(
            "gradients through a position map are not supported, as its regions are merged by "
            "their log-sum-exp: run it under torch.no_grad()"
        )
    # a kernel that returns its log-sum-exp: of the CPU, and of scores that are scaled alone
    attend = _held if scores.are_changed or value.device.type != "cpu" else _merged
    shape, V = queries[0].shape, value.shape[3]
    shared_q = [share_heads(*same_width(q, keys[0], value))[0] for q in queries]
    shared_k = [share_heads(*same_width(queries[0], k, value))[1] for k in keys]
    v = share_heads(*same_width(queries[0], keys[0], value))[2]
    out = torch.empty(*shared_q[0].shape[:3], v.shape[3], dtype=v.dtype, device=v.device)
    for regions in blocks:
        a, b = regions[0].queries
        out[:, :, a - first : b - first] = attend(shared_q, shared_k, v, scores, regions, first)
    return out.reshape(*shape[:3], -1)[..., :V]


def _merged(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    value: Tensor,
    scores: Scores,
    regions: Sequence[Region],
    first: int,
) -> Tensor:
    """Attend to each region by the CPU's kernel: no score is held, and none computed twice."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    merged, total = torch.empty(0), torch.empty(0)
    for i, region in enumerate(regions):
        q, k, v = _of(region, queries, keys, value, first)
        flipped = region.shape == "anti"
        if flipped:
            q, k, v = q.flip(2), k.flip(2), v.flip(2)
        out, lse = flash(q, k, v, is_causal=region.shape != "full", scale=scores.scale)
        if flipped:
            out, lse = out.flip(2), lse.flip(2)
        out = out.to(lse.dtype)
        if i == 0:
            merged, total = out, lse
            continue
        start = regions[0].queries[0]
        rows = slice(region.queries[0] - start, region.queries[1] - start)
        before = total[:, :, rows]
        weight = torch.sigmoid(lse - before)[..., None]
        merged[:, :, rows] = torch.lerp(merged[:, :, rows], out, weight)
        total[:, :, rows] = torch.logaddexp(before, lse)
    return merged.to(value.dtype)


def _held(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    value: Tensor,
    scores: Scores,
    regions: Sequence[Region],
    first: int,
) -> Tensor:
    """Attend with a block's scores held: capped, with sinks, or where no kernel returns its sum."""
    a, b = regions[0].queries
    q = queries[0]
    precise = torch.promote_types(q.dtype, torch.float32)
    shape = *q.shape[:2], b - a, b
    found = torch.full(shape, -torch.inf, dtype=precise, device=q.device)
    for region in regions:
        q, k, _ = _of(region, queries, keys, value, first)
        some = (q @ k.transpose(2, 3)).to(precise) * scores.scale
        if scores.softcap is not None:
            some = (some / scores.softcap).tanh() * scores.softcap
        place = found[
            :, :, region.queries[0] - a : region.queries[1] - a, region.keys[0] : region.keys[1]
        ]
        seen = torch.ones(some.shape[2:], dtype=torch.bool, device=some.device)
        if region.shape != "full":
            seen = seen.tril() if region.shape == "causal" else seen.triu()
        place.copy_(torch.where(seen, some, place))
    if scores.sinks is not None:
        heads = len(scores.sinks)
        column = scores.sinks.to(found).reshape(-1, 1, 1).expand(heads, b - a, 1)
        batch = found.shape[0] * found.shape[1] // heads
        columns = column.expand(batch, -1, -1, -1).reshape(*found.shape[:3], 1)
        found = torch.cat((found, columns), dim=-1)
    return found.softmax(-1).to(value.dtype)[..., :b] @ value[:, :, :b]


def _of(
    region: Region, queries: Sequence[Tensor], keys: Sequence[Tensor], value: Tensor, first: int
) -> tuple[Tensor, Tensor, Tensor]:
    rows = slice(region.queries[0] - first, region.queries[1] - first)
    columns = slice(*region.keys)
    q, k = queries[region.q_map], keys[region.k_map]
    return q[:, :, rows], k[:, :, columns], value[:, :, columns]
