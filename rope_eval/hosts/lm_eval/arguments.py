"""From `--model_args` to a setting, and the arguments of the host's own model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rope_eval.backends.checkpoint import check_checkpoint, is_from_hub
from rope_eval.backends.gguf import location
from rope_eval.errors import SpecError
from rope_eval.lengths import check_count
from rope_eval.rope.method import flag
from rope_eval.rope.spec import FIELDS
from rope_eval.setting import Caller, Setting, resolve

_FLAGS = {"trust_remote_code", "use_safetensors", "use_kernels", "truncation", "parallelize"}

_PLACES = {"gguf_file", "subfolder"}


def take_setting(
    pretrained: Any, config: str | None, arguments: Mapping[str, Any], known: tuple[str, ...]
) -> tuple[Setting, dict[str, Any]]:
    """Return the setting, and the arguments that are left for the host's model.

    Args:
        pretrained: a directory, a name on the hub, a loaded model, or None with `config`.
        config: a row of the catalogue.
        arguments: those of the model, RopeSpec's fields among them.
        known: the arguments that the host's model has by name.

    Raises:
        RopeEvalError: as `resolve` does.
    """
    caller = Caller(
        name="scaling_rope",
        model="pretrained=DIR",
        row="config=NAME",
        arguments=known,
        passes_on=True,
    )
    setting = resolve(pretrained, config, arguments, caller=caller)
    rest = {name: value for name, value in arguments.items() if name not in FIELDS}
    for name in _FLAGS & set(rest):  # a "no" that is not read as false would run code
        rest[name] = flag(name, rest[name])
    for name in _PLACES & set(rest):
        if not (rest[name] is None or isinstance(rest[name], str)):
            raise SpecError(f"{name} must be the name of a file or folder, got {rest[name]!r}")
    if "max_length" in rest:
        rest["max_length"] = check_count("max_length", rest["max_length"])
    return setting, rest


def check_device(asked: Any, got: Any) -> None:
    """Raise `SpecError` where a model is elsewhere than asked: lm-eval takes what it can use."""
    if asked is not None and str(asked).partition(":")[0] != got.type:
        raise SpecError(f"the device {str(asked)!r} cannot be used here, or not under lm-eval")


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
