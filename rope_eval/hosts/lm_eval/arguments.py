"""From `--model_args` to a checkpoint, a RopeSpec, and the arguments of the host's own model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rope_eval import catalogue
from rope_eval.backends.hf.loading import check_checkpoint
from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope.spec import FIELDS, RopeSpec


def take_rope(
    pretrained: Any, config: str | None, arguments: dict[str, Any], known: Sequence[str]
) -> tuple[Any, RopeSpec]:
    """Take the RopeSpec's fields out of `arguments`.

    Args:
        pretrained: a directory, a name on the hub, a loaded model, or None with `config`.
        config: a row of the catalogue: its checkpoint and its fields, unless given beside it.
        arguments: those of the model; what is left in them is the host model's.
        known: the arguments that the host model has by name.

    Returns:
        The checkpoint and the spec.

    Raises:
        SpecError: for no model, a field that makes no sense, or an argument like a misspelt field.
        DataError: for a row that the catalogue does not have, or one without a checkpoint.
    """
    rope = {name: arguments.pop(name) for name in FIELDS if name in arguments}
    if config is not None:
        row = catalogue.find(config)
        rope = row.rope.to_dict() | rope
        pretrained = pretrained or str(row.require_checkpoint())
    if pretrained is None:
        raise SpecError("scaling_rope needs a model: give pretrained=DIR or config=NAME")
    for name in arguments:
        if name not in known and (hint := did_you_mean(name, FIELDS)):
            raise SpecError(
                f"scaling_rope has no argument {name!r}.{hint} "
                f"The RoPE fields are: {', '.join(FIELDS)}"
            )
    return pretrained, RopeSpec.from_dict(rope)


def check_weights(pretrained: str, arguments: dict[str, Any], *, allow_pickle: bool) -> None:
    """Refuse a local checkpoint that cannot, or should not, be loaded."""
    subfolder = arguments.get("subfolder")
    check_checkpoint(
        str(Path(pretrained, subfolder)) if subfolder else pretrained,
        trust_remote_code=bool(arguments.get("trust_remote_code")),
        allow_pickle=allow_pickle,
    )
