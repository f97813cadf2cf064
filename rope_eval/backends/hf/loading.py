"""Load a causal language model from a directory, a GGUF file or a hub name, safely by default."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file, logging

from rope_eval.backends.checkpoint import (
    INDEX,
    check_checkpoint,
    check_config,
    check_index,
    check_there,
    check_whole,
)
from rope_eval.backends.gguf import is_gguf, location, without_bar
from rope_eval.backends.hf.compat import dequantized, unmapped
from rope_eval.backends.hf.offload import offloading_map
from rope_eval.errors import DataError, RopeEvalError, SpecError


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    offload: bool = False,
) -> PreTrainedModel:
    """Load a model, every weight of it from its files.

    Args:
        name: a directory, a GGUF file, or a name on the hub.
        dtype: "auto", which is what the config says, "float32", "bfloat16" or "float16".
        device: as in PyTorch; None is CUDA where there is one; "auto" parts the layers over all
            GPUs of the machine, by accelerate.
        trust_remote_code: run Python code that comes with the checkpoint.
        allow_pickle: load weights that are not safetensors; loading a pickle can run code.
        offload: leave the weights of decoder layers in their safetensors files, which are read
            whenever they are needed (`rope_eval.backends.hf.offload`).

    Raises:
        DataError: where the directory or the weights cannot be read, or are not the config's.
        SpecError: for a device that is not there, or a package that GGUF files need.
    """
    check_checkpoint(name, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    place = None if device == "auto" else usable_device(device)
    config = load_config(name, trust_remote_code=trust_remote_code)
    more: dict[str, Any] = {"device_map": "auto"} if place is None else {}
    if offload:
        if place is None:
            raise SpecError("--offload computes on one device: name it, in the place of auto")
        more = _offloading(name, config, place, trust_remote_code, allow_pickle)
    with unmapped() if offload else nullcontext():
        model = WholeCausalLM.from_pretrained(
            **location(name),
            config=config,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=None if allow_pickle else True,
            **more,
        )
    if offload:
        weakref.finalize(model, shutil.rmtree, more["offload_folder"], ignore_errors=True)
    if offload or place is None:
        return model.eval()
    with readable(f"the model {name}"):
        return model.to(place).eval()


def _offloading(
    name: str,
    config: PreTrainedConfig,
    device: torch.device,
    trust_remote_code: bool,
    allow_pickle: bool,
) -> dict[str, Any]:
    """Return what `from_pretrained` takes to leave decoder layers in their files.

    What transformers has to convert first, such as experts that it merges, is in a folder of its
    own.

    Raises:
        SpecError: for weights that cannot be read in turn.
    """
    packed = getattr(config, "quantization_config", None)
    if is_gguf(name) or packed is not None or allow_pickle:
        kind = "a GGUF file" if is_gguf(name) else "packed" if packed else "perhaps pickles"
        raise SpecError(
            f"--offload reads weights from plain safetensors files, and those of {name} are {kind}:"
            " save them as such (save_pretrained), or leave --offload out"
            + (", or --allow-pickle" if kind == "perhaps pickles" else "")
        )
    with readable(f"the model {name}"):
        places = offloading_map(config, device, trust_remote_code=trust_remote_code)
    return {"device_map": places, "offload_folder": mkdtemp(prefix="rope-eval-weights-")}


class WholeCausalLM:
    """transformers' `AutoModelForCausalLM`, which leaves no weight to chance.

    transformers draws weights at random that the files lack, and drops those it has no place for.
    """

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str, *, gguf_file: str | None = None, **arguments: Any
    ) -> PreTrainedModel:
        """Load a model as transformers does, each of its weights from its files.

        A GGUF file is unpacked, into float32 unless another dtype is given: its blocks would be
        computed on by kernels from the hub. `load_in_4bit`, `load_in_8bit` and what refines them
        (lm-eval hands them on) pack the weights with bitsandbytes.

        Raises:
            DataError: for a model that cannot be loaded, or files that are not the config's.
        """
        name = pretrained_model_name_or_path
        if gguf_file is not None:
            name = str(Path(name, gguf_file))
            arguments |= {"gguf_file": gguf_file} | dequantized()
            if arguments.get("dtype") in (None, "auto"):
                arguments["dtype"] = torch.float32
        with readable(f"the model {name}"), _quiet(), without_bar() if gguf_file else nullcontext():
            arguments |= _packing(arguments)
            if gguf_file is None and not Path(name).is_dir():
                _check_hub_index(name, arguments)
            model, info = AutoModelForCausalLM.from_pretrained(
                pretrained_model_name_or_path,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `check_whole` refuses them, and names them
                **arguments,
            )
            check_whole(name, info)
        if gguf_file is not None and hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # it is a plain model now, and saved as one
            model.hf_quantizer = None
        model.config.name_or_path = name
        return model


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer; one that cannot be read is a `DataError`."""
    check_there(name)
    with readable(f"the tokenizer of {name}"):
        return AutoTokenizer.from_pretrained(**location(name), trust_remote_code=trust_remote_code)


def load_config(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Load a model's config; one that cannot be read, or makes no model, is a `DataError`."""
    check_there(name)
    with readable(f"the config of {name}"):
        if not is_gguf(name):
            values, _ = PreTrainedConfig.get_config_dict(name)
            where = str(Path(name, "config.json"))
            check_config(values, where, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(**location(name), trust_remote_code=trust_remote_code)
        config.name_or_path = name
        return config


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, add_bos: bool = True) -> Tensor:
    """Return a document's tokens, BOS first where the tokenizer has one: int64 ``[T]``."""
    with readable(f"a text for the tokenizer of {getattr(tokenizer, 'name_or_path', 'the model')}"):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        bos = tokenizer.bos_token_id
    return torch.tensor([bos, *ids] if add_bos and bos is not None else ids, dtype=torch.int64)


def usable_device(device: str | None) -> torch.device:
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
def readable(what: str) -> Iterator[None]:
    """Turn whatever a library raises, while it loads something, into a `DataError` of one line.

    Args:
        what: is loaded, such as "the model NAME".
    """
    try:
        yield
    except RopeEvalError:
        raise
    except MemoryError as error:
        raise DataError(f"{what} does not fit into this machine's memory") from error
    except Exception as error:
        raise DataError(f"{what} cannot be loaded: {_reason(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the tokenizers' Rust code
            raise
        raise DataError(f"{what} cannot be loaded: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error, the second too where the first announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"no {text}" if isinstance(error, KeyError) else text


def _packing(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take out of the arguments what bitsandbytes is to do, and return it as transformers wants."""
    names = [name for name in arguments if name.startswith(("load_in_", "bnb_4bit_", "llm_int8_"))]
    asked = {name: arguments.pop(name) for name in names}
    if not asked.get("load_in_4bit") and not asked.get("load_in_8bit"):
        return {}
    return {"quantization_config": BitsAndBytesConfig(**asked)}


def _check_hub_index(name: str, arguments: dict[str, Any]) -> None:
    """Look at the index of a model on the hub, or in its cache, before what it names is loaded."""
    wanted = {key: arguments.get(key) for key in ("revision", "subfolder") if arguments.get(key)}
    index = cached_file(
        name,
        INDEX,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
        **wanted,
    )
    if index is not None:
        check_index(Path(index), allow_pickle=not arguments.get("use_safetensors"), fetched=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and its own report of weights off the terminal."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
