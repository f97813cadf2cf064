"""What of a tiny model is not attention, in numpy and float64, from the names of its weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = dict[str, Array]


def linear(x: Array, w: Weights, name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def norm(x: Array, w: Weights, name: str, config: Any) -> Array:
    """RMSNorm where the config says so, else LayerNorm; Gemma's weights are about 0."""
    if hasattr(config, "rms_norm_eps"):
        mean, eps = np.zeros((*x.shape[:-1], 1)), config.rms_norm_eps
    else:
        mean, eps = x.mean(-1, keepdims=True), config.layer_norm_eps
    x = x - mean
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    about = 1.0 if "gemma" in config.model_type else 0.0
    return x * (w[f"{name}.weight"] + about) + w.get(f"{name}.bias", 0.0)


def projections(x: Array, w: Weights, config: Any, head_dim: int) -> tuple[Array, Array, Array]:
    """Return queries, keys and values of x ``[T, D]``, unrotated: ``[N or M, T, H]`` each."""
    T, H = len(x), head_dim
    N, M = config.num_attention_heads, config.num_key_value_heads
    if "self_attn.kv_a_proj_with_mqa.weight" in w:
        return _latent(x, w, config)
    if "self_attn.qkv_proj.weight" in w:
        parts = np.split(linear(x, w, "self_attn.qkv_proj"), [N * H, N * H + M * H], axis=-1)
    else:
        parts = [linear(x, w, f"self_attn.{name}_proj") for name in "qkv"]
    q, k, v = (p.reshape(T, -1, H).transpose(1, 0, 2) for p in parts)
    for suffix in ("norm", "layernorm"):
        if f"self_attn.q_{suffix}.weight" in w:
            q = norm(q, w, f"self_attn.q_{suffix}", config)
            k = norm(k, w, f"self_attn.k_{suffix}", config)
    return q, k, v


def _latent(x: Array, w: Weights, config: Any) -> tuple[Array, Array, Array]:
    """DeepSeek's: queries and keys from low ranks, the rotary dimensions last and shared."""
    T, N = len(x), config.num_attention_heads
    rank, plain = config.kv_lora_rank, config.qk_nope_head_dim
    low = norm(linear(x, w, "self_attn.q_a_proj"), w, "self_attn.q_a_layernorm", config)
    q = linear(low, w, "self_attn.q_b_proj").reshape(T, N, -1).transpose(1, 0, 2)
    low, rotary = np.split(linear(x, w, "self_attn.kv_a_proj_with_mqa"), [rank], axis=-1)
    low = norm(low, w, "self_attn.kv_a_layernorm", config)
    made = linear(low, w, "self_attn.kv_b_proj").reshape(T, N, -1).transpose(1, 0, 2)
    shared = np.broadcast_to(rotary, (N, *rotary.shape))
    return q, np.concatenate([made[..., :plain], shared], axis=-1), made[..., plain:]


def block(x: Array, attended: Array, normed: Array, w: Weights, config: Any) -> Array:
    """Return a layer's output from what came in, attention's output and what it was given."""
    if "pre_feedforward_layernorm.weight" in w:
        x = x + norm(attended, w, "post_attention_layernorm", config)
        after = mlp(norm(x, w, "pre_feedforward_layernorm", config), w, config)
        return x + norm(after, w, "post_feedforward_layernorm", config)
    if config.model_type in ("phi", "cohere2") or getattr(config, "use_parallel_residual", False):
        return x + attended + mlp(normed, w, config)
    x = x + attended
    return x + mlp(norm(x, w, "post_attention_layernorm", config), w, config)


def mlp(x: Array, w: Weights, config: Any) -> Array:
    if "mlp.router.weight" in w:
        return _experts(x, w, config)
    if "mlp.fc1.weight" in w:
        return linear(_gelu(linear(x, w, "mlp.fc1")), w, "mlp.fc2")
    name = "feed_forward" if "feed_forward.up_proj.weight" in w else "mlp"
    if f"{name}.gate_up_proj.weight" in w:
        gate, up = np.split(linear(x, w, f"{name}.gate_up_proj"), 2, axis=-1)
    else:
        gate, up = linear(x, w, f"{name}.gate_proj"), linear(x, w, f"{name}.up_proj")
    active = _gelu(gate) if "gemma" in config.model_type else gate / (1 + np.exp(-gate))
    return linear(active * up, w, f"{name}.down_proj")


def _experts(x: Array, w: Weights, config: Any) -> Array:
    """gpt-oss's: the best experts of each token, weighed by a softmax over them."""
    out = np.zeros_like(x)
    votes = linear(x, w, "mlp.router")
    for t, vote in enumerate(votes):
        best = np.argsort(vote)[-config.num_experts_per_tok :]
        shares = np.exp(vote[best] - vote[best].max())
        for share, e in zip(shares / shares.sum(), best, strict=True):
            both = x[t] @ w["mlp.experts.gate_up_proj"][e] + w["mlp.experts.gate_up_proj_bias"][e]
            gate, up = both[::2].clip(max=7.0), both[1::2].clip(-7.0, 7.0)
            h = (up + 1) * gate / (1 + np.exp(-1.702 * gate))
            down = h @ w["mlp.experts.down_proj"][e] + w["mlp.experts.down_proj_bias"][e]
            out[t] += share * down
    return out


def _gelu(x: Array) -> Array:
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
