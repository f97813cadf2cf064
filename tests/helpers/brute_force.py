"""A tiny model's log-probabilities straight from the equations: numpy, float64, query by query.

Nothing of `rope_eval` computes here: of a `RopeSpec` only the fields are read, and what a layer
does with positions is written down here for each family. `t` counts from 1 as in the formulas,
positions from 0.
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from helpers.brute_parts import Array, Weights, block, linear, norm, projections
from rope_eval.rope.spec import RopeSpec

INTERLEAVED = ("cohere2", "deepseek_v3", "glm", "llama4_text")
NOPE = ("smollm3", "llama4_text")


class Layer:
    """What one layer of a family does with positions, and with scores."""

    def __init__(self, config: Any, number: int):
        family = config.model_type
        kinds = getattr(config, "layer_types", None)
        self.kind = kinds[number] if kinds else None
        of_kind = config.rope_parameters.get(self.kind)
        self.parameters = of_kind or config.rope_parameters
        self.has_own_parameters = of_kind is not None
        slides = self.kind == "sliding_attention" or family == "mistral"
        self.window = getattr(config, "sliding_window", None) if slides else None
        self.rotates = bool(config.no_rope_layers[number]) if family in NOPE else True
        chunked = self.kind == "chunked_attention"
        self.chunk = config.attention_chunk_size if chunked else None
        self.own_heat = None if self.rotates else own_temperature(config)
        self.norm_eps = norm_after_rotation(config) if self.rotates else None
        if family == "cohere2":
            self.rotates = slides
        self.interleaved = family in INTERLEAVED
        self.head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.d = int(self.head_dim * self.parameters.get("partial_rotary_factor", 1.0))
        if family == "deepseek_v3":
            self.d, self.head_dim = config.qk_rope_head_dim, config.qk_head_dim
        self.offset = self.head_dim - self.d if family == "deepseek_v3" else 0
        self.cap = getattr(config, "attn_logit_softcapping", None)
        wide = getattr(config, "query_pre_attn_scalar", None) or self.head_dim
        self.softmax_scale = 1 / math.sqrt(wide)

    def canonical(self, x: Array) -> Array:
        """Return x ``[…, H]``: first dimensions of all pairs, then the second, then the others."""
        turning = x[..., self.offset : self.offset + self.d]
        if self.interleaved:
            turning = np.concatenate([turning[..., ::2], turning[..., 1::2]], axis=-1)
        others = [x[..., : self.offset], x[..., self.offset + self.d :]]
        return np.concatenate([turning, *others], axis=-1)


def own_temperature(config: Any) -> tuple[float, float] | None:
    """Llama 4's attn_scale and floor_scale, of its layers without rotation."""
    tuned = getattr(config, "attn_temperature_tuning", False)
    return (config.attn_scale, config.floor_scale) if tuned else None


def norm_after_rotation(config: Any) -> float | None:
    """The epsilon of a norm of queries and keys that have turned."""
    has = config.model_type.startswith("hunyuan") or getattr(config, "use_qk_norm", False)
    return config.rms_norm_eps if has else None


def layers_of(config: Any) -> list[Layer]:
    return [Layer(config, number) for number in range(config.num_hidden_layers)]


def takes(spec: RopeSpec, layers: list[Layer], number: int) -> bool:
    """Whether a layer takes the setting: of those that rotate, all or those that see everything."""
    full = [layer for layer in layers if layer.rotates and layer.window is layer.chunk is None]
    layer = layers[number]
    if getattr(spec, "layers", "full") == "all" or not full:
        return layer.rotates
    return layer in full


def kept_still(spec: RopeSpec, layers: list[Layer], number: int) -> bool:
    """Whether a setting keeps a layer from rotating that otherwise would."""
    asked = spec.nope_every and (number + 1) % spec.nope_every == 0
    return takes(spec, layers, number) and bool(asked or number in (spec.nope_layers or ()))


def temperature_of(spec: RopeSpec, layers: list[Layer], number: int) -> bool:
    """Whether a layer has Llama 4's temperature: those without rotation, where there are such."""
    seen = getattr(spec, "layers", "full") == "all"
    still = [
        kept_still(spec, layers, n)
        or (not layer.rotates and (seen or layer.window is layer.chunk is None))
        for n, layer in enumerate(layers)
    ]
    return still[number] if any(still) else takes(spec, layers, number)


def mapped_distances(spec: RopeSpec, t: int) -> Array | None:
    """Return at which distance the query at t sees the keys 0 … t, key by key; None for t − s."""
    found = [float(t - s) for s in range(t + 1)]
    if w := spec.rerope_window:
        found = [min(d, w) for d in found]
    elif w := spec.leaky_rerope_window:
        found = [d if d < w else w + (d - w) / spec.leaky_rerope_factor for d in found]
    elif w := spec.self_extend_window:
        G = spec.self_extend_group
        found = [d if d < w else t // G - s // G + w - w // G for s, d in enumerate(found)]
    elif S := spec.string_shift:
        W = min(128, S) if spec.string_window is None else spec.string_window
        found = [d if d < S else d - S + W for d in found]
    elif S := spec.dual_chunk_size:
        c = spec.dual_chunk_limit or 6 * S // 5
        for s in range(t + 1):
            between = t // S - s // S
            if between:
                query = t % S + S if between == 1 else 2 * S - 1
                found[s] = min(query, c) - s % S
    else:
        return None
    return np.array(found, dtype=float)


class Method:
    """The position method of a spec on one layer of a config, one equation a function."""

    def __init__(self, spec: RopeSpec, config: Any, number: int = 0):
        layers = layers_of(config)
        self.layer = layers[number]
        self.taken = takes(spec, layers, number)
        self.kept = kept_still(spec, layers, number)
        self.spec = spec if self.taken and not self.kept else RopeSpec()
        self.heats = spec.attn_temperature == "llama4" and temperature_of(spec, layers, number)
        self.whole_spec = spec
        self.config = config
        own = self.layer.parameters
        self.head_dim, self.d = self.layer.head_dim, self.layer.d
        self.beta = self.spec.rope_theta if self.spec.rope_theta is not None else own["rope_theta"]
        self.pretrain = self.spec.pretrain_theta or own["rope_theta"]
        longest = config.max_position_embeddings
        original = getattr(config, "original_max_position_embeddings", None) or longest
        self.train = self.spec.train_length or min(original, longest)
        self.tune = self.spec.tune_length or self.train
        self.rope_type = own["rope_type"]
        self.norms: list[Array] = []  # the weights of the norms after rotation, where it has such
        self.F = self.d // 2

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
        if self.spec.dynamic_yarn == "continuous":
            return max(1.0, length / self.train)
        if self.spec.dynamic_yarn == "octave":
            return 2.0 ** max(0, math.ceil(math.log2(length / self.train)))
        if self.spec.longrope_factors:
            return float(length > self.train)
        if not self.spec.dynamic_ntk:
            return 1.0
        seen = t if self.spec.dynamic_ntk == "per_query" else length
        if self.spec.ntk_formula == "continuous":
            f, reference = self.spec.ntk_factor, self.reference(default="train")
            if seen <= reference:
                return 1.0
            return (f * seen / reference - (f - 1)) ** (self.d / (self.d - 2))
        if self.spec.ntk_formula == "qwen":
            reference = self.reference(default="train")
            alpha = max(1.0, 2.0 ** math.ceil(math.log2(seen / reference) + 1) - 1)
            return alpha ** (self.d / (self.d - 2))
        return max(1.0, 2.0 ** (math.ceil(math.log2(seen / self.reference())) + 1) - 1)

    @functools.cache  # noqa: B019
    def frequencies(self, alpha: float, length: int) -> tuple[Array, float]:
        """θ_n and what cos and sin are multiplied by."""
        base = self.beta * self.spec.ntk_alpha ** (self.d / (self.d - 2)) * alpha
        if self.rope_type != "default":
            theta, factor = self.scaled_by_config(base, length)
            factor *= self.spec.attention_factor or 1.0
        else:
            theta, factor = self.scaled(alpha)
            if self.spec.attention_factor is not None:
                factor = self.spec.attention_factor
        theta = np.array([self.masked(n, float(theta[n])) for n in range(self.F)])
        return theta, factor

    def masked(self, n: int, theta: float) -> float:
        """θ_n after what turns pairs off, tapers and rounds."""
        spec = self.spec
        if n >= math.floor(spec.rotated_share * self.d / 2):  # p-RoPE
            theta = 0.0
        if n >= self.F - spec.hard_clip or spec.drope:
            theta = 0.0
        j = n - (self.F - spec.cope)
        if j >= 0:  # at the last ½(1 + cos π), which is no 0 in floating point
            taper = 0.5 * (1 + math.cos(math.pi * j / (spec.cope - 1)))
            theta = theta * taper if n < self.F - 1 else 0.0
        if spec.resonance and theta > 0:
            theta = 2 * math.pi / max(1, round(2 * math.pi / theta))
        return theta

    def scaled(self, alpha: float) -> tuple[Array, float]:
        """θ_n and the attention factor of what sets or scales the frequencies."""
        spec, n = self.spec, np.arange(self.F)
        plain: Array = self.beta ** (-2 * n / self.d)
        if spec.frequencies is not None:
            return np.array(spec.frequencies), 1.0
        if spec.llama3_factor > 1:
            return np.array([self.llama3(theta) for theta in plain]), 1.0
        if spec.ntk_parts_factor > 1:
            return self.ntk_by_parts(plain), 1.0
        if spec.longrope_factors is not None:
            lists = spec.longrope_factors
            if isinstance(lists[0], tuple):
                lists = lists[1] if alpha else lists[0]
            factor = math.sqrt(1 + math.log(spec.longrope_ratio, self.train))
            return plain / np.array(lists), factor
        s = alpha if spec.dynamic_yarn else spec.yarn_factor
        if s > 1:
            return self.yarn(plain, s)
        base = self.beta * spec.ntk_alpha ** (self.d / (self.d - 2)) * alpha
        return base ** (-2 * n / self.d) / spec.linear_factor, 1.0

    def llama3(self, theta: float) -> float:
        wavelength, spec = 2 * math.pi / theta, self.spec
        if wavelength < self.train / spec.high_freq_factor:
            return theta
        if wavelength > self.train / spec.low_freq_factor:
            return theta / spec.llama3_factor
        smooth = (self.train / wavelength - spec.low_freq_factor) / (
            spec.high_freq_factor - spec.low_freq_factor
        )
        return (1 - smooth) * theta / spec.llama3_factor + smooth * theta

    def index(self, turns: float) -> float:
        """The pair that turns so often in the training length: β^(2n/d) = T / (2π·turns)."""
        return self.d / 2 * math.log(self.train / (2 * math.pi * turns), self.beta)

    def climb(self, first: float, last: float) -> Array:
        """From 0 at the pair `first` to 1 at `last`."""
        low, high = max(first, 0), min(last, self.d - 1)
        if low == high:
            high += 0.001
        return np.clip((np.arange(self.F) - low) / (high - low), 0, 1)

    def yarn(self, plain: Array, s: float) -> tuple[Array, float]:
        spec = self.spec
        first, last = self.index(spec.beta_fast), self.index(spec.beta_slow)
        if spec.yarn_truncate:
            first, last = math.floor(first), math.ceil(last)
        gamma = 1 - self.climb(first, last)
        above = 0.1 * spec.mscale * math.log(s) + 1
        below = 0.1 * spec.mscale_all_dim * math.log(s) + 1
        return (1 - gamma) * plain / s + gamma * plain, above / below

    def ntk_by_parts(self, plain: Array) -> Array:
        s, n = self.spec.ntk_parts_factor, np.arange(self.F)
        ntk = (self.beta * s ** (self.d / (self.d - 2))) ** (-2 * n / self.d)
        linear = self.climb(math.floor(self.index(1.25)), max(0, math.ceil(self.index(0.75))))
        changed = self.climb(math.floor(self.index(16)), max(0, math.ceil(self.index(2))))
        low = linear * plain / s + (1 - linear) * ntk
        return changed * low + (1 - changed) * plain

    def scaled_by_config(self, base: float, length: int) -> tuple[Array, float]:
        """The same of a config that scales, by transformers' own routine."""
        config = copy.deepcopy(self.config)
        kind = self.layer.kind if self.layer.has_own_parameters else None
        parameters = config.rope_parameters
        (parameters[kind] if kind else parameters)["rope_theta"] = float(base)
        theta, factor = ROPE_INIT_FUNCTIONS[self.rope_type](config, layer_type=kind, seq_len=length)
        return theta.double().numpy() / self.spec.linear_factor, factor

    def rotated(self, x: Array, positions: npt.NDArray[Any], alpha: float, length: int) -> Array:
        """Rotate x ``[N, K, H]``, in canonical order, the tokens at the positions ``[K]``."""
        if self.kept or not self.layer.rotates:
            return x
        theta, factor = self.frequencies(alpha, length)
        if self.spec.string_shift and self.spec.attention_factor is None:
            factor *= 0.1 * math.log(2) + 1
        F = self.d // 2
        angle = np.empty((len(positions), F))
        for n in range(F):
            at = positions
            if self.spec.beyond_critical == "clip" and 2 * n >= self.critical_dimension():
                at = np.minimum(positions, self.train - 1)
            angle[:, n] = at * theta[n]
            if self.spec.longrope_kept:
                early = positions < self.spec.longrope_kept
                plain = self.masked(n, self.beta ** (-2 * n / self.d))
                angle[early, n] = positions[early] * plain
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        a, b = x[..., :F], x[..., F : 2 * F]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., 2 * F :]], axis=-1)

    def normed(self, x: Array, which: int) -> Array:
        """Normalise queries (0) or keys (1) that have turned, where the family does."""
        if self.layer.norm_eps is None:
            return x
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.layer.norm_eps)
        return x * self.norms[which] if self.norms else x

    def scores(self, q: Array, k: Array, t: int, length: int, softmax_scale: float) -> Array:
        """Return the scores ``[N, t]`` of the query at t, q ``[N, H]``, with keys ``[N, t, H]``."""
        alpha = self.alpha(t, length)
        F = self.d // 2
        q, k = self.layer.canonical(q), self.layer.canonical(k)
        distances = mapped_distances(self.spec, t - 1)
        if distances is None:
            q_at, k_at = np.array([t - 1]), np.arange(t)
        else:
            q_at, k_at = np.zeros(1), -distances
        rotated_q = self.normed(self.rotated(q[:, None], q_at, alpha, length), 0)
        rotated_k = self.normed(self.rotated(k, k_at, alpha, length), 1)
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
        if self.layer.own_heat is not None:
            attn_scale, floor_scale = self.layer.own_heat
            scores = scores * (1 + attn_scale * math.log(1 + t // floor_scale))
        if self.heats:
            steps = t // self.whole_spec.floor_scale
            scores = scores * (1 + self.whole_spec.attn_scale * math.log(1 + steps))
        if self.spec.attn_temperature == "ministral3":
            steps = (t - 1) // self.spec.floor_scale
            scores = scores * (1 + self.spec.attn_scale * math.log(1 + steps))
        if self.spec.scalable_softmax:
            scores = scores * self.spec.scalable_softmax * math.log(t)
        if self.spec.softmax_scale:
            scores = scores / softmax_scale * self.spec.softmax_scale
        return scores


def log_probabilities(
    model: PreTrainedModel, spec: RopeSpec, tokens: list[int], length: int | None = None
) -> Array:
    """Return log p of every next token, ``[T, V]``.

    Args:
        model: a tiny model of `models.py` or `families`, for its weights and config.
        spec: the setting.
        tokens: the row.
        length: of the whole sequence, where the row is only its beginning.
    """
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    config: Any = model.config
    length = length or len(tokens)
    x = w["model.embed_tokens.weight"][tokens]
    if "gemma" in config.model_type:
        x = x * math.sqrt(config.hidden_size)
    for i in range(config.num_hidden_layers):
        layer = {
            name.removeprefix(f"model.layers.{i}."): p
            for name, p in w.items()
            if name.startswith(f"model.layers.{i}.")
        }
        normed = norm(x, layer, "input_layernorm", config)
        attended = _attention(normed, layer, Method(spec, config, i), length)
        x = block(x, attended, normed, layer, config)
    final = "model.norm" if "model.norm.weight" in w else "model.final_layernorm"
    logits = linear(norm(x, w, final, config), w, "lm_head")
    logits *= getattr(config, "logit_scale", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        logits = cap * np.tanh(logits / cap)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _attention(x: Array, w: Weights, method: Method, length: int) -> Array:
    T, layer = len(x), method.layer
    q, k, v = projections(x, w, method.config, method.head_dim)
    names = [f"self_attn.{what}_layernorm.weight" for what in ("query", "key")]
    method.norms = [w[name] for name in names if name in w]
    k, v = (p.repeat(len(q) // len(p), axis=0) for p in (k, v))
    out = np.empty((T, len(v), v.shape[-1]))
    for t in range(1, T + 1):
        scores = method.scores(q[:, t - 1], k[:, :t], t, length, layer.softmax_scale)
        if layer.cap:
            scores = layer.cap * np.tanh(scores / layer.cap)
        if layer.window:
            scores[:, : max(t - layer.window, 0)] = -np.inf
        if layer.chunk:
            scores[:, : (t - 1) // layer.chunk * layer.chunk] = -np.inf
        sinks = w.get("self_attn.sinks", np.full(len(q), -np.inf))[:, None]
        top = np.maximum(scores.max(-1, keepdims=True), sinks)
        weights = np.exp(scores - top)
        weights /= weights.sum(-1, keepdims=True) + np.exp(sinks - top)
        out[t - 1] = np.einsum("nk,nkh->nh", weights, v[:, :t])
    name = "self_attn.o_proj" if "self_attn.o_proj.weight" in w else "self_attn.dense"
    return linear(out.reshape(T, -1), w, name)
