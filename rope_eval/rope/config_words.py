"""What a model's config calls a RoPE setting, in RopeSpec's words.

A config word given beside a RopeSpec would change the model unseen: it would run, and be recorded
as the spec alone. So it is refused, with the fields that do the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.config_form import FORMS, spec_of_parameters
from rope_eval.rope.spec import RopeSpec

OVERRIDES = "hf_overrides"
WORDS = (
    *("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq"),
    *("rotary_emb_base", "partial_rotary_factor"),
)

_ALL = (
    "a base is rope_theta, "
    + ", ".join(f"{kind} is {form.setting}" for kind, form in FORMS.items())
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
    words = value if isinstance(value, Mapping) else {name: value}
    try:
        spec = spec_of_parameters(words)
    except SpecError:
        spec = RopeSpec()
    if spec == RopeSpec():
        return f"RopeSpec fields instead ({_ALL})"
    return f"the RopeSpec fields {spec}"


def _nested(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield the names and values of a mapping, and of those in it."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield name, below
            yield from _nested(below)
