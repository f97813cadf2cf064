"""What scoring a text costs on a model, operations and bytes, from its config alone.

The numbers are of `rope_eval.scoring.tokens`: a layer at a time in chunks, no cache across layers,
logits a part at a time. Letters: T tokens, C tokens of a chunk, D hidden size, N query heads, M
key-value heads, H head_dim, F width of the feed-forward part, V vocabulary, L layers, G devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rope_eval.errors import SpecError

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
CHUNK = {"cpu": 2048, "cuda": 8192}  # tokens of a chunk; shorter ones cost attention time
# reads and writes of each number by what is no product: norms, sums and copies of hidden states;
# gate and product of the feed-forward part; rotation and copies of queries, of keys and values
MOVES_HIDDEN, MOVES_WIDE, MOVES_QUERY, MOVES_KEY = 22, 5, 10, 12
MOVES_LOGITS = 8  # of float32: log-sum-exp, the target's, the likeliest


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """A model's size, as far as scoring depends on it.

    Attributes:
        parameters: all of them.
        multiplied: weights that a token is multiplied with; of experts those that it is sent to.
        layers: decoder layers.
        hidden: D.
        heads: N; where layers differ, this and the next three are of the widest.
        kv_heads: M.
        head_dim: H.
        wide: F.
        vocabulary: V.
        tied: whether the head is the embedding.
    """

    parameters: int
    multiplied: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    wide: int
    vocabulary: int
    tied: bool = False

    @classmethod
    def of_size(cls, parameters: int) -> Cost:
        """Return a dense model of about so many parameters, in the proportions of Llama 3 8B.

        A layer for each 128 of D, heads of 128, a key-value head for each four, F = 3.5 D, V =
        128,256, a head of its own; of what has fewer than a layer of these, one of D = 128.

        Args:
            parameters: how many.
        """
        if parameters < 1:
            raise SpecError(f"a model has 1 parameter or more, got {parameters}")

        def made(layers: int) -> Cost:
            hidden, heads, vocabulary = 128 * layers, layers, 128_256
            kv_heads, wide = max(1, heads // 4), 448 * layers
            attention = 2 * hidden * hidden + 2 * hidden * kv_heads * 128
            in_layers = layers * (attention + 3 * hidden * wide + 2 * hidden) + hidden
            return cls(
                parameters=in_layers + 2 * vocabulary * hidden,
                multiplied=in_layers + vocabulary * hidden,
                layers=layers,
                hidden=hidden,
                heads=heads,
                kv_heads=kv_heads,
                head_dim=128,
                wide=wide,
                vocabulary=vocabulary,
            )

        layers = 1
        while made(layers + 1).parameters < parameters:
            layers += 1
        return min(made(layers), made(layers + 1), key=lambda one: abs(one.parameters - parameters))

    @classmethod
    def of(cls, config: Any) -> Cost:
        """Return the size of the model that a config makes, without its weights.

        Args:
            config: of transformers.

        Raises:
            DataError: where transformers makes no model of it.
        """
        import torch
        from transformers import AutoModelForCausalLM

        from rope_eval.backends.hf.loading import readable

        with readable(f"the size of this {config.model_type} model"), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        inner = config.get_text_config()
        weights = dict(model.named_parameters())
        matrices = {name: weight.numel() for name, weight in weights.items() if weight.ndim > 1}
        embedded = model.get_input_embeddings().weight
        experts = _number(inner, "num_local_experts", "num_experts", "n_routed_experts") or 1
        chosen = (_number(inner, "num_experts_per_tok") or experts) / experts
        # a head that is tied is no parameter of its own, and multiplied with all the same
        tied = model.get_output_embeddings().weight is embedded
        multiplied = sum(n * (chosen if ".experts." in name else 1) for name, n in matrices.items())
        layers = _layers(inner)
        heads = max(layer.num_attention_heads for layer in layers)
        return cls(
            parameters=sum(weight.numel() for weight in weights.values()),
            multiplied=int(multiplied) - (0 if tied else embedded.numel()),
            layers=inner.num_hidden_layers,
            hidden=inner.hidden_size,
            heads=heads,
            kv_heads=max(_number(layer, "num_key_value_heads") or heads for layer in layers),
            head_dim=max(
                _number(layer, "head_dim") or inner.hidden_size // heads for layer in layers
            ),
            wide=max(
                _number(layer, "intermediate_size") or 4 * inner.hidden_size for layer in layers
            ),
            vocabulary=inner.vocab_size,
            tied=tied,
        )

    def flops(self, tokens: int) -> float:
        """Return the operations of one pass: those of its products and of its attention.

        Args:
            tokens: T.
        """
        return self.product_flops(tokens) + self.attention_flops(tokens)

    def product_flops(self, tokens: int) -> float:
        """Return the operations of products with weights: 2 a weight and token.

        Args:
            tokens: T.
        """
        return 2.0 * self.multiplied * tokens

    def attention_flops(self, tokens: int, past: int = 0) -> float:
        """Return the operations of attention: 4·N·H a layer and pair of a query and its key.

        Layers with a window attend to less, so that it is at most so many.

        Args:
            tokens: T.
            past: tokens before them.
        """
        pairs = tokens * (tokens + 1) / 2 + tokens * past
        return 4.0 * self.layers * self.heads * self.head_dim * pairs

    def moved(self, tokens: int, dtype: str) -> float:
        """Return the bytes that layers read and write beside products and attention.

        Args:
            tokens: T.
            dtype: that the model runs in.
        """
        layer = (
            MOVES_HIDDEN * self.hidden
            + MOVES_WIDE * self.wide
            + MOVES_QUERY * self.heads * self.head_dim
            + MOVES_KEY * self.kv_heads * self.head_dim
        )
        return float(self.layers * layer * BYTES[dtype] * tokens)

    def logits_moved(self, tokens: int) -> float:
        """Return the bytes that are read and written where logits become scores, in float32.

        Args:
            tokens: that are scored.
        """
        return float(MOVES_LOGITS * 4 * self.vocabulary * tokens)

    def keys_and_values(self, tokens: int, dtype: str) -> int:
        """Return the bytes of all layers' keys and values: 2·L·T·M·H numbers.

        Args:
            tokens: T.
            dtype: that the model runs in.
        """
        return 2 * self.layers * tokens * self.kv_heads * self.head_dim * BYTES[dtype]

    def hidden_states(self, tokens: int, dtype: str) -> int:
        """Return the bytes of the hidden states between two layers: T·D numbers.

        Args:
            tokens: T.
            dtype: that the model runs in.
        """
        return tokens * self.hidden * BYTES[dtype]

    def gathered(self, tokens: int, dtype: str, devices: int) -> int:
        """Return the bytes that each device receives where queries are over G devices.

        It has the keys and values of its own tokens, T/G, and in each layer needs those of the
        others: 2·L·T·M·H·(G - 1)/G numbers.

        Args:
            tokens: T.
            dtype: that the model runs in.
            devices: G.
        """
        return self.keys_and_values(tokens, dtype) * (devices - 1) // devices

    def weights(self, dtype: str, parts: int = 1) -> int:
        """Return the bytes of the weights, or those of the largest of parts by layers.

        Args:
            dtype: that the model runs in.
            parts: devices that the layers are over, the embedding on the first and the head on the
                last.
        """
        if parts == 1:
            return self.parameters * BYTES[dtype]
        end = self.vocabulary * self.hidden
        return (-(-self.layers // parts) * self._in_layers // self.layers + end) * BYTES[dtype]

    def weights_in_turn(self, dtype: str) -> int:
        """Return the bytes of weights that are held where files have them: two layers' at a time.

        Args:
            dtype: that the model runs in.
        """
        elsewhere = max(self.layers - 2, 0) * self._in_layers // self.layers
        return (self.parameters - elsewhere) * BYTES[dtype]

    @property
    def _in_layers(self) -> int:
        return self.parameters - self.vocabulary * self.hidden * (1 if self.tied else 2)


def usual_device() -> str:
    """Return the device that a model would take: CUDA where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def usual_chunk(device: str | None) -> int:
    """Return C where it is not given, on a device or on the one that a model would take."""
    device = device or usual_device()
    return CHUNK.get(device.partition(":")[0], CHUNK["cpu"])


def _layers(config: Any) -> list[Any]:
    """Return the configs of the layers where they differ (Gemma 4), or the one of all."""
    of_layers = getattr(config, "per_layer_config", None)
    return [of_layers[i] for i in range(config.num_hidden_layers)] if of_layers else [config]


def _number(config: Any, *names: str) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
