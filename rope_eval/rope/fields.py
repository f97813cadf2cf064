"""RopeSpec's fields as they are typed."""

from __future__ import annotations

from rope_eval.errors import SpecError


def parse_fields(text: str) -> dict[str, str | None]:
    """Return what ``rope_theta=500,train_length=4096`` gives, as text by name; "none" is None.

    Unlike `RopeSpec.parse` it keeps what was given apart from what was not, for merging.

    Raises:
        SpecError: for a part that is not name=value, or a name that is given twice.

    >>> parse_fields("pretrain_theta=10000, rope_theta=none")
    {'pretrain_theta': '10000', 'rope_theta': None}
    """
    fields: dict[str, str | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise SpecError(f"a RoPE setting is written name=value, got {part!r}")
        if name in fields:
            raise SpecError(f"{name} is given twice in {text!r}")
        fields[name] = None if value.lower() == "none" else value
    return fields
