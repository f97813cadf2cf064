"""The rotary part of the config.json of released checkpoints, in the words of its file."""

from typing import Any


def _llama(**changes: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "rope_scaling": None,
        **changes,
    }


_LLAMA3_SCALING = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
_LLAMA3 = _llama(vocab_size=128256, rope_theta=500000.0)
_MISTRAL = {"model_type": "mistral", "hidden_size": 4096, "num_attention_heads": 32}
_PHI3 = {
    "model_type": "phi3",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "vocab_size": 32064,
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 4096,
}
_LONGROPE = {"type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48}

RELEASED: dict[str, dict[str, Any]] = {
    "LLaMA2": _llama(vocab_size=32000, max_position_embeddings=4096),  # it has no rope_theta
    "Code LLaMA": _llama(vocab_size=32016, max_position_embeddings=16384, rope_theta=1000000),
    "Llama 3": {**_LLAMA3, "max_position_embeddings": 8192},
    "Llama 3.1": {**_LLAMA3, "max_position_embeddings": 131072, "rope_scaling": _LLAMA3_SCALING},
    "Mistral v0.1": {
        **_MISTRAL,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
    },
    "Mistral v0.3": {
        **_MISTRAL,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "sliding_window": None,
    },
    "Qwen2.5": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "vocab_size": 152064,
        "max_position_embeddings": 131072,
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
    },
    "Qwen3": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000,
        "rope_scaling": None,
    },
    "Phi-3 mini 4k": {**_PHI3, "max_position_embeddings": 4096, "rope_scaling": None},
    "Phi-3 mini 128k": {**_PHI3, "max_position_embeddings": 131072, "rope_scaling": _LONGROPE},
    "Phi-4": {
        "model_type": "phi3",
        "hidden_size": 5120,
        "intermediate_size": 17920,
        "num_attention_heads": 40,
        "vocab_size": 100352,
        "max_position_embeddings": 16384,
        "original_max_position_embeddings": 16384,
        "rope_theta": 250000,
        "rope_scaling": None,
    },
    "SmolLM2": {
        "model_type": "llama",
        "hidden_size": 576,
        "num_attention_heads": 9,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000,
    },
}
