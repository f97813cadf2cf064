"""What a model's config calls a RoPE setting, in RopeSpec's words.

A config word given beside a RopeSpec would change the model unseen: it would run, and be recorded
as the spec alone. So it is refused, with the fields that do the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.method import FACTOR
from rope_eval.rope.methods import METHODS

OVERRIDES = "hf_overrides"
WORDS = (
    *("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq"),
    *("rotary_emb_base", "partial_rotary_factor"),
)

_SETTINGS = dict(method.rope_type for method in METHODS if method.rope_type is not None)
_READ = ("rope_type", "type", "factor", "rope_theta", "original_max_position_embeddings")
_ALL = (
    "a base is rope_theta, "
    + ", ".join(f"{kind} is {setting}" for kind, setting in _SETTINGS.items())
    + "; what no field does belongs in the checkpoint's own config.json"
)


def refuse_config_words(arguments: Mapping[str, Any]) -> None:
    """Raise `SpecError` for a RoPE setting in a config's words among a model's arguments.

    Args:
        arguments: without RopeSpec's fields; ``hf_overrides`` is looked into.
    """
    for name, value in arguments.items():
        if name in WORDS:
            raise SpecError(f"{name} is a word of config.json: give {in_fields(name, value)}")
    overrides = arguments.get(OVERRIDES)
    if callable(overrides):
        raise SpecError(f"{OVERRIDES} must be a mapping: what a function changes is not recorded")
    for name, value in _nested(overrides):
        if is_config_word(name):
            raise SpecError(
                f"{name} in {OVERRIDES} would set RoPE beside the RopeSpec, and be in no record: "
                f"give {in_fields(name, value)}"
            )


def is_config_word(name: object) -> bool:
    """Tell whether a name of a model's config is about RoPE."""
    return isinstance(name, str) and any(word in name.lower() for word in ("rope", "rotary"))


def in_fields(name: str, value: object) -> str:
    """Return the RopeSpec fields that do what a word of a config does.

    >>> in_fields("rope_parameters", {"rope_type": "default", "rope_theta": 500.0})
    'the RopeSpec fields rope_theta=500'
    """
    if not isinstance(value, Mapping):
        value = {name: value}
    kind = value.get("rope_type", value.get("type", "default"))
    numbers = {k: v for k, v in value.items() if isinstance(v, int | float) and k in _READ}
    fields = _SETTINGS.get(kind) if isinstance(kind, str) else None
    if fields is not None and FACTOR not in fields:
        fields = None
    unread = set(value) - set(numbers) - {"rope_type", "type"}
    if unread or (kind != "default" and (fields is None or "factor" not in numbers)):
        return f"RopeSpec fields instead ({_ALL})"
    words = [fields.replace(FACTOR, f"{numbers['factor']:g}")] if fields else []
    if "rope_theta" in numbers:
        words.insert(0, f"rope_theta={numbers['rope_theta']:.10g}")
    if "original_max_position_embeddings" in numbers:
        words.append(f"train_length={numbers['original_max_position_embeddings']}")
    if not words:
        return f"RopeSpec fields instead ({_ALL})"
    return f"the RopeSpec fields {','.join(words)}"


def _nested(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield the names and values of a mapping, and of those in it."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield name, below
            yield from _nested(below)
