"""What a machine does in a second: rates that are given, or measured in a model's own shapes.

On a CPU they are measured by the process's CPU time, and the best of a few counts, so that other
programs change them little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError
from rope_eval.scoring.cost import MOVES_LOGITS, Cost, usual_chunk

if TYPE_CHECKING:
    import torch

REPEATS = 5
CALL = {"cpu": 2e10, "cuda": 2e12}  # operations of a measured call, at most
STREAM = {"cpu": 1 << 28, "cuda": 1 << 31}  # bytes that no cache holds
FRESH = {"cpu": 9 << 20, "cuda": 1 << 26}  # numbers: an allocator does not keep room for them
HEAD = {"cpu": 1 << 27, "cuda": 1 << 30}  # weights of a measured head, at most
LEAST = 0.02  # of a head's time: what is no product cannot take less
PAST = 3  # of the chunk that attention is measured with: chunks of keys before it
LAYERS, STEPS = 4, 24  # of the model that calls are measured with


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The rates of one device, and of what joins it to others.

    Attributes:
        products: operations a second of products with weights.
        attention: of causal attention.
        bandwidth: bytes a second at which one row reads weights.
        cached: at which one query of each head reads cached keys and values.
        moves: bytes a second that element-wise operations read and write in layers.
        logits: bytes a second at which logits become scores, beside the product that makes them.
        layer_calls: seconds that the calls of one decoder layer take, whatever they compute.
        link: bytes a second that a device receives from others; None where it is not known.

    Raises:
        SpecError: for a rate that is not above 0.
    """

    products: float
    attention: float
    bandwidth: float
    cached: float
    moves: float
    logits: float
    layer_calls: float = 0.0
    link: float | None = None

    def __post_init__(self) -> None:
        for name in ("products", "attention", "bandwidth", "cached", "moves", "logits"):
            if not getattr(self, name) > 0:
                raise SpecError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.link is not None and not self.link > 0:
            raise SpecError(f"link must be above 0, got {self.link}")
        if self.layer_calls < 0:
            raise SpecError(f"layer_calls must be 0 or more, got {self.layer_calls}")

    @classmethod
    def given(cls, flops: float, bandwidth: float, link: float | None = None) -> Machine:
        """Return a machine of two rates, which all operations and all bytes have.

        Args:
            flops: operations a second.
            bandwidth: bytes a second.
            link: bytes a second between devices, or None.
        """
        return cls(
            products=flops,
            attention=flops,
            bandwidth=bandwidth,
            cached=bandwidth,
            moves=bandwidth,
            logits=bandwidth,
            link=link,
        )


def measured(cost: Cost, dtype: str, *, device: str, link: float | None = None) -> Machine:
    """Measure a device in a few seconds, with products and heads as a model has them.

    Args:
        cost: the model's size.
        dtype: that it runs in.
        device: as in PyTorch.
        link: bytes a second between devices, which is not measured.

    Raises:
        SpecError: for a device that cannot be used.
    """
    import torch

    from rope_eval.backends.hf.loading import usable_device

    place = usable_device(device)
    with torch.inference_mode():
        bench = _Bench(cost, getattr(torch, dtype), place)
        products = bench.products()
        return Machine(
            products=products,
            attention=bench.attention(),
            bandwidth=bench.bandwidth(),
            cached=bench.cached(),
            moves=bench.moves(),
            logits=bench.logits(products),
            layer_calls=layer_calls(place),
            link=link,
        )


class _Bench:
    """Measurements of one device, in the shapes of one model."""

    def __init__(self, cost: Cost, dtype: torch.dtype, device: torch.device):
        self.cost, self.dtype, self.device = cost, dtype, device
        self.kind = device.type if device.type in CALL else "cuda"
        self.chunk = usual_chunk(device.type)

    def products(self) -> float:
        """Return operations a second of the two products of a feed-forward part."""
        import torch.nn.functional as F

        D, wide = self.cost.hidden, self.cost.wide
        rows = self._rows(4.0 * D * wide)
        x, up, down = self._random(rows, D), self._random(wide, D), self._random(D, wide)
        seconds = spent(lambda: F.linear(F.linear(x, up), down), self.device)
        return 4.0 * rows * D * wide / seconds

    def attention(self) -> float:
        """Return operations a second of a chunk's attention to itself and three before it."""
        from rope_eval.backends.hf.kernels import Scores, causal_attention

        heads, H = self.cost.kv_heads, self.cost.head_dim
        group = self.cost.heads // heads
        pairs = 4.0 * group * H * (PAST + 0.5) * self.chunk  # of a query
        rows = self._rows(pairs)
        heads = max(1, min(heads, int(CALL[self.kind] / (pairs * rows))))
        keys = rows * (PAST + 1)
        query = self._random(1, heads * group, rows, H)
        key, value = self._random(1, heads, keys, H), self._random(1, heads, keys, H)
        scores = Scores(scale=H**-0.5)
        seconds = spent(lambda: causal_attention(query, key, value, scores), self.device)
        return 4.0 * heads * group * H * rows * (keys - rows / 2) / seconds

    def bandwidth(self) -> float:
        """Return bytes a second of one row times a matrix that no cache holds."""
        import torch.nn.functional as F

        D = self.cost.hidden
        rows = STREAM[self.kind] // (D * self.dtype.itemsize)
        x, matrix = self._random(1, D), self._random(rows, D)
        return (
            matrix.numel() * matrix.element_size() / spent(lambda: F.linear(x, matrix), self.device)
        )

    def cached(self) -> float:
        """Return bytes a second of a step's attention: heads that share keys are its queries."""
        import torch.nn.functional as F

        heads, H = self.cost.kv_heads, self.cost.head_dim
        keys = STREAM[self.kind] // (2 * heads * H * self.dtype.itemsize)
        query = self._random(1, heads, self.cost.heads // heads, H)
        key, value = self._random(1, heads, keys, H), self._random(1, heads, keys, H)
        seconds = spent(lambda: F.scaled_dot_product_attention(query, key, value), self.device)
        return 2 * key.numel() * key.element_size() / seconds

    def moves(self) -> float:
        """Return bytes a second of the gate of a feed-forward part, in memory that is new."""
        import torch.nn.functional as F

        gate, up = (self._random(FRESH[self.kind]) for _ in range(2))
        seconds = spent(lambda: F.silu(gate) * up, self.device)
        return 5 * gate.numel() * gate.element_size() / seconds

    def logits(self, products: float) -> float:
        """Return bytes a second of logits that become scores: what a head takes beside its product.

        Args:
            products: operations a second that its product is taken to have.
        """
        import torch
        import torch.nn.functional as F

        from rope_eval.scoring.logits import LOGITS_AT_ONCE, score_hidden

        D = self.cost.hidden
        V = max(1, min(self.cost.vocabulary, HEAD[self.kind] // D))
        rows = max(1, LOGITS_AT_ONCE // V)
        # logits near 0, as a model's are: exponentials of far ones are slow, being subnormal
        head, hidden = self._random(V, D) * D**-0.5, self._random(rows, D)
        targets = torch.zeros(rows, dtype=torch.int64, device=self.device)

        def score() -> None:
            score_hidden(lambda x: F.linear(x, head), hidden, targets, vocabulary=V)

        seconds = spent(score, self.device)
        beside = max(seconds - 2.0 * rows * D * V / products, LEAST * seconds)
        return MOVES_LOGITS * 4.0 * rows * V / beside

    def _rows(self, flops: float) -> int:
        """Return rows of a chunk, fewer where a row takes so many operations."""
        return int(min(self.chunk, max(16, CALL[self.kind] // flops)))

    def _random(self, *shape: int) -> torch.Tensor:
        import torch

        return torch.randn(*shape, device=self.device).to(self.dtype)


def layer_calls(device: torch.device) -> float:
    """Return the seconds of a decoder layer whose matrices are nothing: those of its calls."""
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

    from rope_eval.backends.hf.compat import cache_argument
    from rope_eval.backends.hf.patch import patched
    from rope_eval.rope.spec import RopeSpec

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    with torch.inference_mode(False):
        model = LlamaForCausalLM(config).eval().to(device)
    token = torch.ones(1, 1, dtype=torch.int64, device=device)
    with patched(model, RopeSpec()):
        cache = DynamicCache(config=config)
        held = {cache_argument(model): cache}
        model(token.expand(1, 32), **held, use_cache=True)

        def steps() -> None:
            for _ in range(STEPS):
                model(token, **held, use_cache=True)

        return spent(steps, device) / (STEPS * LAYERS)


def spent(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that work takes, the least of a few: on a CPU its CPU time a thread.

    Args:
        work: is called several times, the first before any is timed.
        device: that it computes on.
    """
    import torch

    on_cpu = device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    threads = torch.get_num_threads() if on_cpu else 1
    seconds = []
    for _ in range(REPEATS + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append((clock() - started) / threads)
    return min(seconds[1:])
