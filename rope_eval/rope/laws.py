"""What the laws stand on: the base and the length of pre-training and of tuning, and who says so.

In order: what is given; what is known of the family; what the config says; else unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.rope.families import Family

GIVEN = "given"
RECORDED = "the record of rope-eval tune in the config"
OWN_BASE = "the config's own base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A number, and who says so.

    Attributes:
        value: a base or a length in tokens; None where it is not known.
        source: where it is from, or why it is not known.
    """

    value: float | None = None
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Laws:
    """What the laws of a checkpoint stand on.

    Attributes:
        pretrain_theta: the base of pre-training, β_pre.
        train_length: the context length of pre-training, T_train.
        tune_length: the longest that it was tuned at, T_tune; without a value it is T_train.
    """

    pretrain_theta: Fact
    train_length: Fact
    tune_length: Fact

    @classmethod
    def of(
        cls,
        *,
        rope_theta: float | None,
        train_length: int | None,
        length_source: str = "the config's max_position_embeddings",
        family: Family | None = None,
        tuned_from: int | None = None,
        recorded: Mapping[str, float] = MappingProxyType({}),
    ) -> Laws:
        """Return what a config says.

        Args:
            rope_theta: its base.
            train_length: the length that it says, before its own scaling.
            length_source: in which words.
            family: the family that it is one of.
            tuned_from: the length that it was extended from without scaling, if it says so.
            recorded: what `rope-eval tune` wrote into it, by the names of the facts.
        """
        if recorded:
            none = Fact(source=f"{RECORDED} has none")
            facts = {n: Fact(value=value, source=RECORDED) for n, value in recorded.items()}
            return cls(**{field.name: facts.get(field.name, none) for field in fields(cls)})
        if family is not None:
            known = f"known of {family.name} ({family.source})"
            unsaid = f"{family.name} had another in pre-training, not said which ({family.source})"
            return cls(
                pretrain_theta=Fact(
                    value=family.pretrain_theta, source=known if family.pretrain_theta else unsaid
                ),
                train_length=Fact(value=family.train_length, source=known),
                tune_length=Fact(value=family.tune_length, source=known)
                if family.tune_length
                else _AS_TRAINED,
            )
        base = Fact(value=rope_theta, source=OWN_BASE if rope_theta else "the config has no base")
        length = Fact(
            value=train_length,
            source=length_source if train_length else "the config has no max_position_embeddings",
        )
        if tuned_from is None:
            return cls(pretrain_theta=base, train_length=length, tune_length=_AS_TRAINED)
        return cls(
            pretrain_theta=_changed(f"the config says it was extended from {tuned_from} tokens"),
            train_length=length,
            tune_length=_AS_TRAINED,
        )

    def under(self, spec: Any) -> Laws:
        """Return the same with what a setting gives in its place."""
        given = {
            field.name: Fact(value=value, source=GIVEN)
            for field in fields(self)
            if (value := getattr(spec, field.name)) is not None
        }
        found = replace(self, **given)
        train, tune = found.train_length.value, found.tune_length
        if tune.source != GIVEN and tune.value and train and tune.value < train:
            found = replace(found, tune_length=_AS_TRAINED)
        if found.pretrain_theta.source == OWN_BASE and found.tune_length.value not in (None, train):
            why = f"a tune_length of {found.tune_length.value:g}"
            found = replace(found, pretrain_theta=_changed(why))
        return found

    def require(self, name: str, needs: str, give: str | None = None) -> Any:
        """Return a value, or raise a `SpecError` that says what to add.

        Args:
            name: of the fact.
            needs: what it is for, as the subject of the message.
            give: how it is given, where not as a field.
        """
        fact: Fact = getattr(self, name)
        if fact.value is None:
            raise SpecError(f"{needs} needs {name}, and {fact.source}: give {give or name + '=…'}")
        return fact.value

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return each value and its source, as plain JSON values."""
        facts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {n: {"value": fact.value, "source": fact.source} for n, fact in facts.items()}


def lines(laws: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each fact of `Laws.to_dict` that was not given: what it is, from where."""
    return [
        f"{name} {'unknown' if fact['value'] is None else format(fact['value'], '.10g')}: "
        f"{fact['source']}"
        for name, fact in laws.items()
        if fact["source"] not in (GIVEN, _AS_TRAINED.source)
    ]


_AS_TRAINED = Fact(source="none but train_length")


def _changed(why: str) -> Fact:
    return Fact(source=f"the config's base may be another since ({why})")
