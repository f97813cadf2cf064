"""The lab's architecture and tokenizer, and how a checkpoint is written and read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.errors import DataError
from rope_eval.tuning.checkpoint import checkpoint_folder
from studies.scaling_laws.recipes.grids import HEAD_DIM

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BOUNDARY = "<|endoftext|>"
"""The one special token: it stands before each file, and is BOS, EOS and padding."""

BOUNDARY_ID = 256
"""Its id, the first one past the bytes."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the byte-level tokenizer: ids are UTF-8 bytes, :data:`BOUNDARY` stands before them.

    Text that spells out :data:`BOUNDARY` becomes that one token, as is usual.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(BOUNDARY, special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOUNDARY} $A",
        pair=f"{BOUNDARY} $A {BOUNDARY}:1 $B:1",
        special_tokens=[(BOUNDARY, BOUNDARY_ID)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOUNDARY,
        eos_token=BOUNDARY,
        pad_token=BOUNDARY,
        clean_up_tokenization_spaces=False,
    )


def _byte_characters() -> list[str]:
    """Return the character that stands for each byte in byte-level vocabularies (GPT-2's)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)}
    printable |= {*range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def build_model(
    *,
    rope_theta: float,
    train_length: int,
    seed: int,
    hidden_size: int = 128,
    layers: int = 3,
) -> LlamaForCausalLM:
    """Return a byte-level Llama of random weights in float32, with heads of 64.

    By default it has 631,936 parameters. The global seed is left as it was.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=BOUNDARY_ID + 1,
        hidden_size=hidden_size,
        intermediate_size=5 * hidden_size // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // HEAD_DIM,
        num_key_value_heads=hidden_size // HEAD_DIM,
        head_dim=HEAD_DIM,
        max_position_embeddings=train_length,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=False,
        bos_token_id=BOUNDARY_ID,
        eos_token_id=BOUNDARY_ID,
        pad_token_id=None,  # a padding token's embedding is never trained, and this one is BOS
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def save_checkpoint(model: LlamaForCausalLM, directory: Path, record: dict[str, Any]) -> None:
    """Write one of the lab's checkpoints as transformers reads it.

    The weights are stored in float16, which halves them; ``config.json`` says float32, and that is
    what they are loaded as.

    Args:
        model: the trained model, in float32.
        directory: folder to make; what was there before is replaced.
        record: how the checkpoint was made: the contents of ``record.json``.
    """
    from safetensors.torch import save

    with checkpoint_folder(directory, record) as folder:
        weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
        (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
        model.config.save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)


def load_weights(directory: Path) -> dict[str, Tensor]:
    """Return a saved checkpoint's weights in float32.

    Raises:
        DataError: the folder holds no checkpoint.
    """
    from safetensors.torch import load_file

    path = directory / "model.safetensors"
    if not path.is_file():
        raise DataError(f"No checkpoint to tune: there is no {path}. Make it first.")
    return {name: tensor.float() for name, tensor in load_file(path).items()}
