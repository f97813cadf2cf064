"""From `--model_args` to a setting, and the arguments of the host's own model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from rope_eval.backends.checkpoint import check_checkpoint, is_from_hub
from rope_eval.backends.gguf import location
from rope_eval.errors import SpecError
from rope_eval.rope.spec import FIELDS
from rope_eval.rope.values import flag
from rope_eval.setting import Caller, Setting, resolve

_TYPES: Mapping[str, type | None] = MappingProxyType(
    {"bool": bool, "int": int, "float": float, "str": str, "dict": dict, "None": None}
)
_LEAST: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "max_length": (2, "tokens"),
        "max_model_len": (2, "tokens"),
        "chunk_size": (1, "tokens"),
        "max_gen_toks": (1, "tokens"),
        "prefix_token_id": (0, "(the id of a token)"),
        "max_batch_size": (1, "requests"),
    }
)
_BATCH_SIZE = re.compile(r"[1-9][0-9]*|auto(:[0-9]+(\.[0-9]+)?)?")
_DTYPES = ("dtype", "softmax_dtype", "mixed_precision_dtype")


def check_values(arguments: Mapping[str, Any], *constructors: Callable[..., Any]) -> None:
    """Refuse values that the host's model would take for something else, or fail on deep inside.

    lm-eval takes a `max_length` of 0 for none, and any text for true.

    Args:
        arguments: those of the model.
        *constructors: of it and of the host's model, whose annotations say what they take.

    Raises:
        SpecError: for a number that is none, or too small, or a value of another type.
    """
    parameters = {
        name: parameter
        for constructor in constructors
        for name, parameter in inspect.signature(constructor).parameters.items()
    }
    for name, value in arguments.items():
        if value is None:
            continue
        if name in _LEAST:
            least, unit = _LEAST[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SpecError(
                    f"{name} must be a whole number of {least} or more {unit}, got {value!r}"
                )
        elif name == "batch_size":
            if isinstance(value, bool) or not _BATCH_SIZE.fullmatch(str(value)):
                raise SpecError(
                    f"batch_size must be a whole number of 1 or more, auto or auto:N, got {value!r}"
                )
        elif name in _DTYPES and isinstance(value, str):
            if value != "auto" and not isinstance(getattr(torch, value, None), torch.dtype):
                raise SpecError(f"{name} must be auto, float32, bfloat16 or float16, got {value!r}")
        elif name in parameters:
            said = str(parameters[name].annotation)
            kinds = [_TYPES.get(word.strip().partition("[")[0], object) for word in said.split("|")]
            allowed = tuple(kind for kind in kinds if kind is not None)
            if bool in allowed and value in (0, 1):
                continue
            true_as_number = isinstance(value, bool) and not {bool, object} & set(allowed)
            if true_as_number or not isinstance(value, allowed):
                want = said.removesuffix(" | None").replace(" | ", " or ")
                named = {"bool": "True or False", "int": "a whole number", "str": "text"}
                want = named.get(want, want)
                raise SpecError(f"{name} must be {want}, got {value!r}")


def take_setting(
    pretrained: Any,
    config: str | None,
    arguments: Mapping[str, Any],
    known: tuple[str, ...],
    *,
    passes_on: bool = True,
) -> tuple[Setting, dict[str, Any]]:
    """Return the setting, and the arguments that are left for the host's model.

    Args:
        pretrained: a directory, a name on the hub, a loaded model, or None with `config`.
        config: a row of the catalogue.
        arguments: those of the model, RopeSpec's fields among them.
        known: the arguments that the host's model has by name.
        passes_on: whether others go to a library behind it.

    Raises:
        RopeEvalError: as `resolve` does.
    """
    caller = Caller(
        name="scaling_rope",
        model="pretrained=DIR",
        row="config=NAME",
        arguments=known,
        passes_on=passes_on,
    )
    setting = resolve(pretrained, config, arguments, caller=caller)
    rest = {name: value for name, value in arguments.items() if name not in FIELDS}
    if "use_safetensors" in rest:  # a "no" that is not read as false would be true
        rest["use_safetensors"] = flag("use_safetensors", rest["use_safetensors"])
    return setting, rest


def check_device(asked: Any, got: Any) -> None:
    """Raise `SpecError` where a model is elsewhere than asked: lm-eval takes what it can use.

    The first CUDA device is lm-eval's default, so that nobody need have asked for it where there is
    none; any other one somebody has.
    """
    if asked is None or str(asked) in ("cuda", "cuda:0"):
        return
    kind, _, index = str(asked).partition(":")
    if kind != got.type or (index and index != str(got.index)):
        raise SpecError(
            f"the device {str(asked)!r} cannot be used here, or not under lm-eval, which took "
            f"{str(got)!r}"
        )


def take_gguf(pretrained: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return `pretrained` and the arguments as lm-eval's `hf` takes a GGUF file: beside its folder.

    A file that is there by either name becomes ``pretrained=DIR,gguf_file=NAME``.
    """
    file = arguments.get("gguf_file")
    if file is not None and Path(pretrained).is_dir():
        pretrained = str(Path(pretrained, file))
    found = location(pretrained)
    pretrained = found.pop("pretrained_model_name_or_path")
    return pretrained, arguments | found


def refuse_hub_kernels(arguments: Mapping[str, Any]) -> None:
    """Raise `SpecError` for arguments that have transformers fetch kernels from the hub.

    Attention is rope-eval's own in any case; the other kernels run where code from the hub may.
    """
    attention = arguments.get("attn_implementation")
    if is_from_hub(attention):
        raise SpecError(
            f"attn_implementation={attention} would fetch code from the hub and run it: leave it "
            "out, the attention is rope-eval's own"
        )
    for name in ("use_kernels", "kernel_config", "allow_all_kernels"):
        if arguments.get(name) and not arguments.get("trust_remote_code"):
            raise SpecError(
                f"{name} fetches code from the hub and runs it: say trust_remote_code=True too if "
                "you trust it"
            )


def check_weights(pretrained: str, arguments: dict[str, Any], *, allow_pickle: bool) -> None:
    """Refuse a local checkpoint that cannot, or should not, be loaded, and kernels from the hub."""
    refuse_hub_kernels(arguments)
    inside = arguments.get("gguf_file") or arguments.get("subfolder")
    check_checkpoint(
        str(Path(pretrained, inside)) if inside and Path(pretrained).is_dir() else pretrained,
        trust_remote_code=bool(arguments.get("trust_remote_code")),
        allow_pickle=allow_pickle,
    )
