"""Load a causal language model from a directory or a hub name, safely by default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from rope_eval.backends.config import check_supported
from rope_eval.errors import DataError, SpecError


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> PreTrainedModel:
    """Load a supported model.

    Args:
        name: a directory, or a name on the hub.
        dtype: "auto", which is what the config says, "float32", "bfloat16" or "float16".
        device: as in PyTorch; None is CUDA where there is one.
        trust_remote_code: run Python code that comes with the checkpoint.
        allow_pickle: load weights that are not safetensors; loading a pickle can run code.

    Raises:
        DataError: where the directory or the weights cannot be read.
        SpecError: for a device that is not there.
        UnsupportedModelError: for a model the mechanism does not fit.
    """
    check_checkpoint(name, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    place = _usable(device)
    try:
        with _no_loading_bar():
            model = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                use_safetensors=None if allow_pickle else True,
            )
    except (OSError, ValueError, StrictDataclassError) as error:
        raise DataError(f"the model {name} cannot be loaded: {error}") from error
    check_supported(model.config)
    return model.to(place).eval()


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer; one that cannot be read is a `DataError`."""
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise DataError(f"the tokenizer of {name} cannot be loaded: {error}") from error


def load_config(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Load a model's config; one that cannot be read is a `DataError`."""
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise DataError(f"the config of {name} cannot be loaded: {error}") from error


def check_checkpoint(
    name: str, *, trust_remote_code: bool = False, allow_pickle: bool = False
) -> None:
    """Raise `DataError` for a local checkpoint that cannot, or should not, be loaded.

    A name that is no directory is taken for one on the hub, and is not looked at.
    """
    directory = Path(name)
    if not directory.is_dir():
        if directory.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise DataError(f"there is no model directory {name}")
        return
    config_file = directory / "config.json"
    if not config_file.is_file():
        raise DataError(f"{name} is no model directory: it has no config.json")
    try:
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{config_file} is not JSON: {error}") from error
    if "auto_map" in config and not trust_remote_code:
        raise DataError(
            f"{name} asks for Python code of its own to be run (auto_map in config.json): "
            "say trust_remote_code=True if you trust it"
        )
    weights = sorted(directory.glob("*.safetensors"))
    for file in weights:
        try:
            with safe_open(file, framework="pt"):  # reads the header, and checks the size
                pass
        except (OSError, SafetensorError) as error:
            raise DataError(f"{file} is broken or cut off: {error}") from error
    if not weights:
        pickles = [*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")]
        if pickles and not allow_pickle:
            raise DataError(
                f"{name} has its weights in {pickles[0].name} alone, and loading a pickle can run "
                "code: convert them to safetensors, or allow it (--allow-pickle, or "
                "use_safetensors=False under lm_eval)"
            )
        if not pickles:
            raise DataError(f"{name} has no weights: no *.safetensors file")


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, add_bos: bool = True) -> Tensor:
    """Return a document's tokens, BOS first where the tokenizer has one: int64 ``[T]``."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    bos = tokenizer.bos_token_id
    return torch.tensor([bos, *ids] if add_bos and bos is not None else ids, dtype=torch.int64)


def _usable(device: str | None) -> torch.device:
    """Return the device, or CUDA where there is one; `SpecError` where it cannot hold a tensor."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] == "meta":
        raise SpecError("the device 'meta' holds no weights: use cpu or cuda")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either, by the device
        reason = str(error).splitlines()[0]
        raise SpecError(f"the device {name!r} cannot be used here: {reason}") from error


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
