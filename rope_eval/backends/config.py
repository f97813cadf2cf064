"""What a checkpoint's config says of its positions, for every engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedConfig

from rope_eval.errors import UnsupportedModelError
from rope_eval.rope.config_form import FORMS
from rope_eval.rope.geometry import RopeConfig, RotaryGeometry
from rope_eval.rope.methods import active
from rope_eval.rope.spec import RopeSpec

DYNAMIC = "dynamic"


def rope_config(config: PreTrainedConfig) -> RopeConfig:
    """Return what transformers knows of a config, but only the length that config.json says.

    Where it is silent, transformers puts its own default, which says nothing of the checkpoint.
    """
    values = config.to_dict()
    name = config._name_or_path or ""
    file = Path(name, "config.json")
    if not file.is_file():
        file = _on_the_hub(name, getattr(config, "_commit_hash", None)) or file
    if file.is_file():
        written = json.loads(file.read_bytes())
        for length in ("max_position_embeddings", "original_max_position_embeddings"):
            if length not in written:
                values.pop(length, None)
    return RopeConfig(values, f"the config of {name or 'the model'}")


def _on_the_hub(name: str, commit: str | None) -> Path | None:
    """Return where the config.json of a hub name lies that was loaded, or None."""
    try:
        found = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def geometry_under(spec: RopeSpec, geometry: RotaryGeometry) -> RotaryGeometry:
    """Return the geometry that a setting finds on a checkpoint.

    A config of type dynamic, whose frequencies depend on what a model ran before, is a plain one
    under a setting that takes their place: its own follow the length too, or it sets each.

    Raises:
        UnsupportedModelError: for such a config under another setting, the neutral one too.
    """
    if geometry.rope_type != DYNAMIC:
        return geometry
    sets = any(method.frequencies in ("set", "off") for method in active(spec))
    if not sets and spec.base_changes == "never":
        raise UnsupportedModelError(
            f"the model's config asks for rope_type={DYNAMIC}, whose frequencies depend on what "
            "the model ran before: give a setting that takes its place, as "
            f"{FORMS[DYNAMIC].setting} (transformers' {DYNAMIC} in one pass), and where the model "
            "has windows layers=all"
        )
    return dataclasses.replace(geometry, rope_type="default")


def refused_rope_type(rope_type: str) -> UnsupportedModelError:
    """Return the refusal of a config that scales its frequencies in a way that is not served."""
    return UnsupportedModelError(
        f"the model's config asks for rope_type={rope_type}, which is not supported: set "
        "rope_type=default in config.json, and ask for the method by its RopeSpec field"
        + _as_setting(rope_type)
    )


def _as_setting(rope_type: str) -> str:
    form = FORMS.get(rope_type)
    return "" if form is None else f": {form.setting} is transformers' {rope_type}"
