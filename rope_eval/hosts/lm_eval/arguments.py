"""From `--model_args` to a setting, and the arguments of the host's own model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rope_eval.backends.checkpoint import check_checkpoint
from rope_eval.backends.gguf import location
from rope_eval.rope.spec import FIELDS
from rope_eval.setting import Caller, Setting, resolve


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
    return setting, {name: value for name, value in arguments.items() if name not in FIELDS}


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


def check_weights(pretrained: str, arguments: dict[str, Any], *, allow_pickle: bool) -> None:
    """Refuse a local checkpoint that cannot, or should not, be loaded."""
    inside = arguments.get("gguf_file") or arguments.get("subfolder")
    check_checkpoint(
        str(Path(pretrained, inside)) if inside and Path(pretrained).is_dir() else pretrained,
        trust_remote_code=bool(arguments.get("trust_remote_code")),
        allow_pickle=allow_pickle,
    )
