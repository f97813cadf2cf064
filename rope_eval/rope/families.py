"""What is known of families of checkpoints: the base and the length of pre-training, and since.

A config says what a checkpoint is now; where it was extended, the base and the length of its
pre-training are gone from it. A family is told by what its config says, never by a folder's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Checkpoints of one pre-training.

    Attributes:
        name: what they are called.
        model_type: of the config, as are the next three, each one of these.
        vocab_size: tokens of the vocabulary.
        rope_theta: the base.
        max_length: max_position_embeddings.
        pretrain_theta: the base of pre-training, β_pre.
        train_length: the context length of pre-training, T_train.
        tune_length: the length that it was extended to, T_tune; None where it was not.
        source: who says so.
    """

    name: str
    model_type: str
    vocab_size: tuple[int, ...]
    rope_theta: tuple[float, ...]
    max_length: tuple[int, ...]
    pretrain_theta: float
    train_length: int
    tune_length: int | None = None
    source: str

    def has(self, config: Mapping[str, Any], rope_theta: float | None) -> bool:
        """Whether a config with this base is one of the family's."""
        return (
            config.get("model_type") == self.model_type
            and config.get("vocab_size") in self.vocab_size
            and config.get("max_position_embeddings") in self.max_length
            and rope_theta in self.rope_theta
        )


FAMILIES = (
    Family(
        name="LLaMA",
        model_type="llama",
        vocab_size=(32000,),
        rope_theta=(1e4,),
        max_length=(2048,),
        pretrain_theta=1e4,
        train_length=2048,
        source="arXiv 2302.13971",
    ),
    Family(
        name="LLaMA2",
        model_type="llama",
        vocab_size=(32000,),
        rope_theta=(1e4,),
        max_length=(4096,),
        pretrain_theta=1e4,
        train_length=4096,
        source="arXiv 2307.09288",
    ),
    Family(
        name="Code LLaMA",
        model_type="llama",
        vocab_size=(32000, 32016),
        rope_theta=(1e6,),
        max_length=(16384,),
        pretrain_theta=1e4,
        train_length=4096,
        tune_length=16384,
        source="arXiv 2308.12950",
    ),
    Family(
        name="Llama 3",
        model_type="llama",
        vocab_size=(128256,),
        rope_theta=(5e5,),
        max_length=(8192,),
        pretrain_theta=5e5,
        train_length=8192,
        source="arXiv 2407.21783",
    ),
    Family(
        name="Llama 3.1, 3.2",
        model_type="llama",
        vocab_size=(128256,),
        rope_theta=(5e5,),
        max_length=(131072,),
        pretrain_theta=5e5,
        train_length=8192,
        tune_length=131072,
        source="arXiv 2407.21783",
    ),
    Family(
        name="Mistral 7B v0.1",
        model_type="mistral",
        vocab_size=(32000,),
        rope_theta=(1e4,),
        max_length=(32768,),
        pretrain_theta=1e4,
        train_length=8192,
        source="arXiv 2310.06825",
    ),
    Family(
        name="Phi-3 mini 4k",
        model_type="phi3",
        vocab_size=(32064,),
        rope_theta=(1e4,),
        max_length=(4096,),
        pretrain_theta=1e4,
        train_length=2048,  # as LongRoPE2 takes it
        tune_length=4096,
        source="arXiv 2502.20082",
    ),
    Family(
        name="Phi-3 mini 128k",
        model_type="phi3",
        vocab_size=(32064,),
        rope_theta=(1e4,),
        max_length=(131072,),
        pretrain_theta=1e4,
        train_length=2048,
        tune_length=131072,
        source="arXiv 2502.20082",
    ),
    Family(
        name="Qwen2, Qwen2.5",
        model_type="qwen2",
        vocab_size=(151936, 152064),
        rope_theta=(1e6,),
        max_length=(32768, 131072),
        pretrain_theta=1e4,
        train_length=4096,
        tune_length=32768,
        source="arXiv 2407.10671 and 2412.15115",
    ),
    Family(
        name="Qwen3",
        model_type="qwen3",
        vocab_size=(151936,),
        rope_theta=(1e6,),
        max_length=(32768, 40960, 131072),
        pretrain_theta=1e4,
        train_length=4096,
        tune_length=32768,
        source="arXiv 2505.09388",
    ),
    Family(
        name="SmolLM2",
        model_type="llama",
        vocab_size=(49152,),
        rope_theta=(1e5, 1.3e5),
        max_length=(8192,),
        pretrain_theta=1e4,
        train_length=2048,
        tune_length=8192,
        source="arXiv 2502.02737",
    ),
)


def family_of(config: Mapping[str, Any], rope_theta: float | None) -> Family | None:
    """Return the family that a config with this base is one of, or None."""
    return next((family for family in FAMILIES if family.has(config, rope_theta)), None)
