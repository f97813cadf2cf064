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
        shape: hidden_size and intermediate_size, one of these pairs, where another family has the
            rest in common; empty for any.
        pretrain_theta: the base of pre-training, β_pre; None where it was another and is not said.
        train_length: the context length of pre-training, T_train.
        tune_length: the length that it was extended to, T_tune; None where it was not.
        source: who says so.
    """

    name: str
    model_type: str
    vocab_size: tuple[int, ...]
    rope_theta: tuple[float, ...]
    max_length: tuple[int, ...]
    pretrain_theta: float | None
    train_length: int
    tune_length: int | None = None
    shape: tuple[tuple[int, int], ...] = ()
    source: str

    def has(self, config: Mapping[str, Any], rope_theta: float | None) -> bool:
        """Whether a config with this base is one of the family's."""
        return (
            config.get("model_type") == self.model_type
            and config.get("vocab_size") in self.vocab_size
            and config.get("max_position_embeddings") in self.max_length
            and rope_theta in self.rope_theta
            and (not self.shape or _shape(config) in self.shape)
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
        source="arXiv 2307.09288, table 1; the base by arXiv 2308.12950, section 2.4",
    ),
    Family(
        name="LLaMA2",
        model_type="llama",
        vocab_size=(32000,),
        rope_theta=(1e4,),
        max_length=(4096,),
        pretrain_theta=1e4,
        train_length=4096,
        source="arXiv 2307.09288, table 1; the base by arXiv 2308.12950, section 2.4",
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
        source="arXiv 2308.12950, section 2.4",
    ),
    Family(
        name="Llama 3",
        model_type="llama",
        vocab_size=(128256,),
        rope_theta=(5e5,),
        max_length=(8192,),
        pretrain_theta=5e5,
        train_length=8192,
        source="arXiv 2407.21783, sections 3.2 and 3.4",
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
        source="arXiv 2407.21783, sections 3.2 and 3.4",
    ),
    Family(
        name="Mistral 7B v0.1",
        model_type="mistral",
        vocab_size=(32000,),
        rope_theta=(1e4,),
        max_length=(32768,),
        pretrain_theta=1e4,
        train_length=8192,
        source="arXiv 2310.06825, table 1; the base by its config",
    ),
    Family(
        name="Phi-3 mini 4k",
        shape=((3072, 8192),),  # Phi-3 medium has the rest in common
        model_type="phi3",
        vocab_size=(32064,),
        rope_theta=(1e4,),
        max_length=(4096,),
        pretrain_theta=1e4,
        train_length=2048,
        tune_length=4096,
        source="arXiv 2502.20082, which takes 2048 for it; arXiv 2404.14219, section 2",
    ),
    Family(
        name="Phi-3 mini 128k",
        shape=((3072, 8192),),  # Phi-3 medium has the rest in common
        model_type="phi3",
        vocab_size=(32064,),
        rope_theta=(1e4,),
        max_length=(131072,),
        pretrain_theta=1e4,
        train_length=2048,
        tune_length=131072,
        source="arXiv 2502.20082, which takes 2048 for it; arXiv 2404.14219, section 2",
    ),
    Family(
        name="Qwen2, Qwen2.5",
        shape=(  # Qwen1.5, of which no report says how it was trained, has all the rest in common
            (896, 4864),
            (1536, 8960),
            (2048, 11008),
            (3584, 18944),
            (5120, 13824),
            (5120, 27648),
            (8192, 29568),
        ),
        model_type="qwen2",
        vocab_size=(151936, 152064),
        rope_theta=(1e6,),
        max_length=(32768, 131072),
        pretrain_theta=1e4,
        train_length=4096,
        tune_length=32768,
        source="arXiv 2407.10671, section 3.2; arXiv 2412.15115, section 3.3",
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
        source="arXiv 2505.09388, section 3.2",
    ),
    Family(
        name="Phi-4",
        model_type="phi3",
        vocab_size=(100352,),
        rope_theta=(2.5e5,),
        max_length=(16384,),
        pretrain_theta=None,
        train_length=4096,
        tune_length=16384,
        source="arXiv 2412.08905, on its midtraining",
    ),
    Family(
        name="SmolLM3",
        model_type="smollm3",
        vocab_size=(128256,),
        rope_theta=(5e6,),
        max_length=(65536,),
        pretrain_theta=None,
        train_length=4096,
        tune_length=65536,
        source="github.com/huggingface/smollm, text/pretraining",
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


def _shape(config: Mapping[str, Any]) -> tuple[Any, Any]:
    return config.get("hidden_size"), config.get("intermediate_size")


def family_of(config: Mapping[str, Any], rope_theta: float | None) -> Family | None:
    """Return the family that a config with this base is one of, or None."""
    return next((family for family in FAMILIES if family.has(config, rope_theta)), None)
