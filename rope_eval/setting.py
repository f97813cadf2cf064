"""Which model, and under which RoPE setting: from the options that commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rope_eval.errors import SpecError

if TYPE_CHECKING:
    from rope_eval.rope.spec import RopeSpec


def model_and_rope(config: str | None, model: str | None, fields: str) -> tuple[str, RopeSpec]:
    """Return the checkpoint and the setting.

    Args:
        config: a row of the catalogue, or None.
        model: a directory or a name on the hub; it wins over the row's checkpoint.
        fields: RopeSpec fields as text; they win over the row's.

    Raises:
        SpecError: for neither a row nor a model, or a setting that makes no sense.
        DataError: for a row that is not there, or one without a checkpoint.
    """
    from rope_eval import catalogue
    from rope_eval.rope.spec import RopeSpec

    rope = RopeSpec.parse(fields)
    if config is not None:
        row = catalogue.find(config)
        rope = RopeSpec.from_dict(row.rope.to_dict() | rope.to_dict())
        return model or row.require_checkpoint(), rope
    if model is None:
        raise SpecError("give a model: --model DIR, or --config NAME for a row of the catalogue")
    return model, rope
