"""`RopeSpec`: a RoPE setting as a value, its fields those of the registered methods."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope import methods
from rope_eval.rope.fields import parse_fields
from rope_eval.rope.method import BaseChanges
from rope_eval.rope.values import plain, written

FIELDS = tuple(field.name for field in methods.FIELDS)
LONGEST_LIST = 40  # characters of a list that a label shows


class _Spec:
    """What a setting can do, whatever its fields."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in methods.FIELDS:
            value = field.parse(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        methods.check_combination(self)

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    @property
    def is_neutral(self) -> bool:
        """Whether the model is left as its checkpoint says."""
        return not methods.active(self)

    @property
    def changes_frequencies(self) -> bool:
        """Whether the rotary frequencies differ from the model's own."""
        return any(method.frequencies for method in methods.active(self))

    @property
    def base_changes(self) -> BaseChanges:
        """When a token's base changes: "never", "per_query" or "per_sequence"."""
        return methods.base_changes(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as plain YAML and JSON values."""
        return {
            field.name: plain(value)
            for field in methods.FIELDS
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the spec with these fields; an unknown one is a `SpecError`."""
        for name in fields:
            if name not in FIELDS:
                raise SpecError(
                    f"RopeSpec has no field {name!r}.{did_you_mean(str(name), FIELDS)} "
                    f"The fields are: {', '.join(FIELDS)}"
                )
        return cls(**fields)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the spec written as ``rope_theta=500,train_length=4096``; an empty one is neutral.

        >>> RopeSpec.parse("rope_theta=500,train_length=4096").to_dict()
        {'rope_theta': 500.0, 'train_length': 4096}
        """
        return cls.from_dict(parse_fields(text))

    def replace(self, **fields: Any) -> Self:
        """Return the spec with other values in some fields."""
        return self.from_dict({name: getattr(self, name) for name in FIELDS} | fields)

    def fingerprint(self) -> str:
        """Return 12 hexadecimal digits that are equal for equal specs alone."""
        canonical = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return self._text(written)

    @property
    def label(self) -> str:
        """The setting in a line for people: a long list by its length and a digest of it."""
        return self._text(_shortened)

    def label_of(self, names: Iterable[str]) -> str:
        """Some fields as `label` writes them; one that is at its default is written too."""
        return ",".join(f"{name}={_shortened(getattr(self, name))}" for name in names)

    def _text(self, value: Callable[[object], str]) -> str:
        return (
            ",".join(f"{name}={value(getattr(self, name))}" for name in self.to_dict()) or "neutral"
        )


def _shortened(value: object) -> str:
    text = written(value)
    if not isinstance(value, tuple) or len(text) <= LONGEST_LIST:
        return text
    count = len(value[0] if isinstance(value[0], tuple) else value)
    return f"{count} numbers {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _documentation() -> str:
    wrapped = (
        textwrap.fill(
            f"{field.name}: {field.says}.", 100, initial_indent=" " * 4, subsequent_indent=" " * 8
        )
        for field in methods.FIELDS
    )
    return "\n".join(
        (
            "Any combination of the position methods of `rope_eval.rope.methods`.",
            "",
            "The default is neutral: the model as its checkpoint says. Lengths are in tokens.",
            "",
            "Attributes:",
            *wrapped,
            "",
            "Raises:",
            "    SpecError: for a value out of range, or a combination that has no meaning.",
        )
    )


if TYPE_CHECKING:

    @dataclasses.dataclass(frozen=True, kw_only=True, init=False)
    class RopeSpec(_Spec):
        """As a type checker sees it: what every setting has; a method's own fields are Any."""

        rope_theta: float | None
        pretrain_theta: float | None
        train_length: int | None
        tune_length: int | None

else:
    RopeSpec = dataclasses.make_dataclass(
        "RopeSpec",
        [(f.name, f.type, dataclasses.field(default=f.default)) for f in methods.FIELDS],
        bases=(_Spec,),
        namespace={"__doc__": _documentation(), "__module__": __name__},
        frozen=True,
        kw_only=True,
        slots=True,
    )
