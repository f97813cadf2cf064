"""What scoring a text costs on a model, operations and memory, from its config alone.

The numbers are of `rope_eval.scoring.tokens`: a layer at a time in chunks, no cache across layers,
logits a part at a time. Letters: T tokens, C tokens of a chunk, D hidden size, N query heads, M
key-value heads, H head_dim, F width of the feed-forward part, V vocabulary, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
CHUNKS = 3  # of `[C, …]`: what an attention layer or a feed-forward part holds at a time
LOGITS = 2  # of `[rows, V]` in float32: the logits, and what their log-sum-exp needs


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
        )

    def flops(self, tokens: int) -> float:
        """Return the operations of one pass: 2 a weight and token, and 4·N·H a pair of tokens.

        Layers with a window attend to less, so that it is at most so many.

        Args:
            tokens: T.
        """
        pairs = tokens * (tokens + 1) / 2
        return (
            2.0 * self.multiplied * tokens + 4.0 * self.layers * self.heads * self.head_dim * pairs
        )

    def weights(self, dtype: str) -> int:
        """Return the bytes of the weights.

        Args:
            dtype: that the model runs in.
        """
        return self.parameters * BYTES[dtype]

    def working(
        self, tokens: int, dtype: str, *, chunk_size: int, unrotated: bool, cached: bool
    ) -> int:
        """Return the bytes beside the weights, at most at a time.

        The hidden states of all tokens are held twice while the first layer's are put together;
        keys and values are one layer's.

        Args:
            tokens: T.
            dtype: that the model runs in.
            chunk_size: C.
            unrotated: whether keys are held unrotated too, for a base that changes with the query.
            cached: whether the keys and values of all layers are held, as a continuation does.
        """
        from rope_eval.scoring.logits import LOGITS_AT_ONCE

        each = BYTES[dtype]
        chunk = min(chunk_size, tokens)
        hidden = tokens * self.hidden * each
        keys = (3 if unrotated else 2) * tokens * self.kv_heads * self.head_dim * each
        tables = 2 * tokens * self.head_dim * 4
        widest = max(self.wide, (self.heads + 2 * self.kv_heads) * self.head_dim)
        layer = hidden + keys * (self.layers if cached else 1) + CHUNKS * chunk * widest * each
        logits = LOGITS * 4 * min(LOGITS_AT_ONCE, tokens * self.vocabulary)
        return tables + max(2 * hidden, layer, hidden + logits)


def usual_chunk(device: str | None) -> int:
    """Return C where it is not given, on a device or on the one that a model would take."""
    import torch

    from rope_eval.scoring.tokens import CHUNK

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return CHUNK.get(device.partition(":")[0], CHUNK["cpu"])


def _layers(config: Any) -> list[Any]:
    """Return the configs of the layers where they differ (Gemma 4), or the one of all."""
    of_layers = getattr(config, "per_layer_config", None)
    return [of_layers[i] for i in range(config.num_hidden_layers)] if of_layers else [config]


def _number(config: Any, *names: str) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
