"""A tiny model's log-probabilities straight from the equations: numpy, float64, query by query.

Nothing of `rope_eval` computes here: of a `RopeSpec` only the fields are read. `t` counts from 1 as
in the formulas, positions from 0.
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import LlamaConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_eval.rope.spec import RopeSpec

Array = npt.NDArray[np.float64]


class Method:
    """The position method of a spec on a config, one equation a function."""

    def __init__(self, spec: RopeSpec, config: Any):
        self.spec = spec
        self.config = config
        own = config.rope_parameters
        self.head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.d = int(self.head_dim * own.get("partial_rotary_factor", 1.0))
        self.beta = spec.rope_theta if spec.rope_theta is not None else own["rope_theta"]
        self.pretrain = spec.pretrain_theta or own["rope_theta"]
        self.train = spec.train_length or config.max_position_embeddings
        self.tune = spec.tune_length or self.train
        self.rope_type = own["rope_type"]

    def critical_dimension(self) -> int:
        n = self.d / 2 * math.log(self.train / (2 * math.pi), self.pretrain)
        return min(2 * math.ceil(n), self.d)

    def extrapolation_bound(self) -> float:
        power = math.log(self.tune / (2 * math.pi)) / math.log(self.train / (2 * math.pi))
        if self.beta <= self.pretrain**power * (1 + 1e-12):
            return self.tune
        return 2 * math.pi * self.beta ** (self.critical_dimension() / self.d)

    def reference(self, default: str = "extra") -> float:
        wanted = self.spec.reference_length
        if isinstance(wanted, float):
            return wanted
        if wanted == "train" or default == "train":
            return self.train
        return self.extrapolation_bound()

    def alpha(self, t: int, length: int) -> float:
        if not self.spec.dynamic_ntk:
            return 1.0
        seen = t if self.spec.dynamic_ntk == "per_query" else length
        if self.spec.ntk_formula == "continuous":
            f, reference = self.spec.ntk_factor, self.reference(default="train")
            if seen <= reference:
                return 1.0
            return (f * seen / reference - (f - 1)) ** (self.d / (self.d - 2))
        return max(1.0, 2.0 ** (math.ceil(math.log2(seen / self.reference())) + 1) - 1)

    @functools.cache  # noqa: B019
    def frequencies(self, alpha: float) -> tuple[Array, float]:
        """θ_n and what cos and sin are multiplied by."""
        if self.rope_type != "default":
            theta, factor = ROPE_INIT_FUNCTIONS[self.rope_type](self.config)
            return theta.double().numpy(), factor
        if self.spec.yarn_factor > 1:
            config = LlamaConfig(
                head_dim=self.d,
                max_position_embeddings=self.train,
                rope_parameters={
                    "rope_type": "yarn",
                    "rope_theta": self.beta,
                    "factor": self.spec.yarn_factor,
                    "original_max_position_embeddings": self.train,
                },
            )
            theta, factor = ROPE_INIT_FUNCTIONS["yarn"](config)
            return theta.double().numpy(), factor
        base = self.beta * self.spec.ntk_alpha ** (self.d / (self.d - 2)) * alpha
        n = np.arange(self.d // 2)
        return base ** (-2 * n / self.d) / self.spec.linear_factor, 1.0

    def rotated(self, x: Array, positions: npt.NDArray[np.int64], alpha: float) -> Array:
        """Rotate x ``[N, K, H]``, the tokens at the positions ``[K]``."""
        theta, factor = self.frequencies(alpha)
        F = self.d // 2
        rotating = math.floor(self.spec.rotated_share * self.d / 2)  # p-RoPE
        angle = np.empty((len(positions), F))
        for n in range(F):
            at = positions
            if self.spec.beyond_critical == "clip" and 2 * n >= self.critical_dimension():
                at = np.minimum(positions, self.train - 1)
            angle[:, n] = at * theta[n] if n < rotating else 0.0
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        a, b = x[..., :F], x[..., F : 2 * F]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., 2 * F :]], axis=-1)

    def scores(self, q: Array, k: Array, t: int, length: int, softmax_scale: float) -> Array:
        """Return the scores ``[N, t]`` of the query at t, q ``[N, H]``, with keys ``[N, t, H]``."""
        alpha = self.alpha(t, length)
        F = self.d // 2
        rotated_q = self.rotated(q[:, None], np.array([t - 1]), alpha)
        rotated_k = self.rotated(k, np.arange(t), alpha)
        products = rotated_q * rotated_k
        per_pair = products[..., :F] + products[..., F : 2 * F]
        unrotated = products[..., 2 * F :].sum(-1)
        if self.spec.xpos:
            n = np.arange(F)
            zeta = (0.4 + 2 * n / self.d) / 1.4
            distance = t - np.arange(1, t + 1)
            per_pair = per_pair * zeta ** (distance[:, None] / self.reference())
        if self.spec.beyond_critical == "drop":
            first = self.critical_dimension() // 2
            per_pair = per_pair[..., :first]
            left = self.head_dim - 2 * (F - first)
            softmax_scale *= math.sqrt(self.head_dim / left)
        scores = (per_pair.sum(-1) + unrotated) * softmax_scale
        if self.spec.log_scale:
            scores = scores * max(1.0, math.log(t) / math.log(self.reference()))
        return scores


def log_probabilities(
    model: PreTrainedModel, spec: RopeSpec, tokens: list[int], length: int | None = None
) -> Array:
    """Return log p of every next token, ``[T, V]``.

    Args:
        model: a tiny model of `models.py`, for its weights and config.
        spec: the setting.
        tokens: the row.
        length: of the whole sequence, where the row is only its beginning.
    """
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    config: Any = model.config
    method = Method(spec, config)
    length = length or len(tokens)
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(config.num_hidden_layers):
        layer = {
            name.removeprefix(f"model.layers.{i}."): p
            for name, p in w.items()
            if name.startswith(f"model.layers.{i}.")
        }
        normed = _norm(x, layer, "input_layernorm", config)
        attended = _attention(normed, layer, method, length)
        if config.model_type == "phi" or getattr(config, "use_parallel_residual", False):
            x = x + attended + _mlp(normed, layer)
        else:
            x = x + attended
            x = x + _mlp(_norm(x, layer, "post_attention_layernorm", config), layer)
    final = "model.norm" if "model.norm.weight" in w else "model.final_layernorm"
    logits = _linear(_norm(x, w, final, config), w, "lm_head")
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _attention(x: Array, w: dict[str, Array], method: Method, length: int) -> Array:
    T, H, config = len(x), method.head_dim, method.config
    N, M = config.num_attention_heads, config.num_key_value_heads
    if "self_attn.qkv_proj.weight" in w:
        q, k, v = np.split(_linear(x, w, "self_attn.qkv_proj"), [N * H, N * H + M * H], axis=-1)
    else:
        q, k, v = (_linear(x, w, f"self_attn.{name}_proj") for name in "qkv")
    q, k, v = (p.reshape(T, -1, H).transpose(1, 0, 2) for p in (q, k, v))
    if "self_attn.q_norm.weight" in w:
        q, k = (_norm(p, w, f"self_attn.{name}_norm", config) for p, name in ((q, "q"), (k, "k")))
    if "self_attn.q_layernorm.weight" in w:
        q, k = (
            _norm(p, w, f"self_attn.{name}_layernorm", config) for p, name in ((q, "q"), (k, "k"))
        )
    k, v = (p.repeat(N // M, axis=0) for p in (k, v))
    out = np.empty((T, N, H))
    for t in range(1, T + 1):
        scores = method.scores(q[:, t - 1], k[:, :t], t, length, 1 / math.sqrt(H))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out[t - 1] = np.einsum("nk,nkh->nh", weights, v[:, :t])
    name = "self_attn.o_proj" if "self_attn.o_proj.weight" in w else "self_attn.dense"
    return _linear(out.reshape(T, N * H), w, name)


def _mlp(x: Array, w: dict[str, Array]) -> Array:
    if "mlp.fc1.weight" in w:
        h = _linear(x, w, "mlp.fc1")
        gelu = h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        return _linear(gelu, w, "mlp.fc2")
    if "mlp.gate_up_proj.weight" in w:
        gate, up = np.split(_linear(x, w, "mlp.gate_up_proj"), 2, axis=-1)
    else:
        gate, up = _linear(x, w, "mlp.gate_proj"), _linear(x, w, "mlp.up_proj")
    return _linear(gate / (1 + np.exp(-gate)) * up, w, "mlp.down_proj")


def _linear(x: Array, w: dict[str, Array], name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def _norm(x: Array, w: dict[str, Array], name: str, config: Any) -> Array:
    """LayerNorm where it has a bias, else RMSNorm."""
    if hasattr(config, "rms_norm_eps"):
        mean, eps = np.zeros((*x.shape[:-1], 1)), config.rms_norm_eps
    else:
        mean, eps = x.mean(-1, keepdims=True), config.layer_norm_eps
    x = x - mean
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return x * w[f"{name}.weight"] + w.get(f"{name}.bias", 0.0)
