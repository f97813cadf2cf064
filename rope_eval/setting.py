"""A setting: which weights, under which RopeSpec. The one way to it from what a user gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rope_eval import catalogue
from rope_eval.errors import SURELY, RopeEvalError, SpecError, did_you_mean
from rope_eval.rope.config_words import is_config_word, refuse_config_words
from rope_eval.rope.fields import parse_fields
from rope_eval.rope.spec import FIELDS, RopeSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Weights under a RopeSpec.

    Attributes:
        checkpoint: a directory or a name on the hub, or a loaded model.
        rope: the RoPE setting.
        row: the row of the catalogue that it began from, or None.

    Raises:
        SpecError: for a checkpoint that is neither text nor a model.
    """

    checkpoint: Any
    rope: RopeSpec
    row: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.checkpoint, os.PathLike):
            object.__setattr__(self, "checkpoint", os.fspath(self.checkpoint))
        loaded = hasattr(self.checkpoint, "config")
        if not loaded and not (isinstance(self.checkpoint, str) and self.checkpoint.strip()):
            raise SpecError(
                "a model is a directory, a name on the hub or a loaded model, got "
                f"{self.checkpoint!r}"
            )

    @property
    def stated(self) -> frozenset[str]:
        """The fields that the row says of its checkpoint."""
        return stated(self.row, self.rope)


def stated(row: str | None, rope: RopeSpec) -> frozenset[str]:
    """Return the fields of a setting that its row gives: nobody asked for them.

    Args:
        row: of the catalogue; one that is not there any more gives none.
        rope: the setting.
    """
    if row is None:
        return frozenset()
    try:
        of_row = catalogue.find(row).rope.to_dict()
    except RopeEvalError:
        return frozenset()
    return frozenset(of_row.keys() & {n for n, v in rope.to_dict().items() if of_row.get(n) == v})


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks for a setting, and how its arguments are called: for messages that fit.

    Attributes:
        name: what takes the arguments.
        model: how it is given a model.
        row: how it is given a row of the catalogue.
        arguments: the names that it has beside RopeSpec's.
        passes_on: whether names that it does not have go to a library behind it.
    """

    name: str
    model: str
    row: str
    arguments: tuple[str, ...] = ()
    passes_on: bool = False

    def fields_of(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return RopeSpec's fields among arguments.

        Raises:
            SpecError: for a name that neither has (where names are passed on, one like a misspelt
                field), or a RoPE setting in the words of a model's config.
        """
        own = {name: value for name, value in arguments.items() if name not in FIELDS}
        refuse_config_words(own)
        known = FIELDS if self.passes_on else (*FIELDS, *self.arguments)
        for name in own:
            likeness = SURELY if self.passes_on else 0.5
            hint = did_you_mean(str(name), known, likeness=likeness)
            if name not in self.arguments and (hint or not self.passes_on or is_config_word(name)):
                raise SpecError(
                    f"{self.name} has no {name!r}.{hint} The RoPE fields are: {', '.join(FIELDS)}"
                )
        return {name: value for name, value in arguments.items() if name in FIELDS}


COMMAND = Caller(name="RopeSpec", model="--model DIR", row="--config NAME")


def resolve(
    model: Any = None,
    row: str | None = None,
    fields: str | Mapping[str, Any] = "",
    *,
    caller: Caller = COMMAND,
) -> Setting:
    """Return the setting that a user asks for.

    Args:
        model: a directory, a name on the hub or a loaded model; it wins over the row's checkpoint.
        row: a row of the catalogue.
        fields: RopeSpec's, as text (``rope_theta=500,log_scale=true``) or by name, the caller's own
            arguments beside them or not. Each that is given wins over the row's, one that equals a
            default too.
        caller: whose arguments they are.

    Raises:
        SpecError: for neither a row nor a model, or a setting that makes no sense.
        DataError: for a row that is not there, or one without a checkpoint.
    """
    given = caller.fields_of(parse_fields(fields) if isinstance(fields, str) else fields)
    if row is None:
        if model is None:
            raise SpecError(
                f"give a model: {caller.model}, or {caller.row} for a row of the catalogue"
            )
        return Setting(checkpoint=model, rope=RopeSpec.from_dict(given))
    if not isinstance(row, str):
        raise SpecError(f"a row of the catalogue has a name ({caller.row}), got {row!r:.60}")
    found = catalogue.find(row)
    return Setting(
        checkpoint=found.require_checkpoint() if model is None else model,
        rope=RopeSpec.from_dict({**found.fields, **given}),
        row=found.name,
    )
