"""`RopeSpec`: a RoPE setting as a value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rope_eval.errors import SpecError, did_you_mean

DynamicNtk = Literal[False, "per_query", "per_sequence"]
NtkFormula = Literal["octave", "continuous"]
BeyondCritical = Literal["keep", "clip", "drop"]

SHORTEST_LENGTH = 7  # the laws take the logarithm of length / 2π, which must be positive


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeSpec:
    """Any combination of the position methods of arXiv 2310.05209 and its neighbours.

    The default is neutral: the model as its checkpoint says. Lengths are in tokens.

    Attributes:
        rope_theta: the rotary base β; None keeps the model's own.
        linear_factor: position interpolation, λ ≥ 1: every frequency is divided by it.
        ntk_alpha: fixed NTK (bloc97), α ≥ 1: the base becomes β·α^(d/(d−2)).
        yarn_factor: YaRN as `transformers` computes it, factor ≥ 1, its attention factor included.
        log_scale: log-scaled attention (Eq. 16): scores of the query at t times max(1, log_Tref t).
        dynamic_ntk: False, "per_query" (Eq. 18 as written; True means this) or "per_sequence"
            (one α from the whole sequence's length: what serving engines can do).
        ntk_formula: "octave" (Eq. 18) or "continuous" (bloc97, `transformers`' `dynamic`), the
            latter for "per_sequence" alone.
        ntk_factor: the factor f ≥ 1 of the continuous formula.
        xpos: xPos as a soft window (Eq. 17).
        beyond_critical: "keep", or §3.4's "clip" (dimensions from the critical one on see positions
            clipped at train_length − 1) or "drop" (those dimensions are removed from q and k).
        reference_length: T_ref of Eqs. 16-18: "extra" (the extrapolation bound T_extra), "train",
            or a number of tokens. The continuous formula refers to train_length unless a number is
            given.
        pretrain_theta: the base of pre-training, β_pre.
        train_length: the context length of pre-training; None takes max_position_embeddings.
        tune_length: the context length of fine-tuning; None takes train_length.

    Raises:
        SpecError: for a value out of range, or a combination that has no meaning.
    """

    rope_theta: float | None = None
    linear_factor: float = 1.0
    ntk_alpha: float = 1.0
    yarn_factor: float = 1.0
    log_scale: bool = False
    dynamic_ntk: DynamicNtk = False
    ntk_formula: NtkFormula = "octave"
    ntk_factor: float = 1.0
    xpos: bool = False
    beyond_critical: BeyondCritical = "keep"
    reference_length: Literal["extra", "train"] | float = "extra"
    pretrain_theta: float = 10000.0
    train_length: int | None = None
    tune_length: int | None = None

    def __post_init__(self) -> None:
        def normalise(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.rope_theta is not None:
            normalise("rope_theta", _number("rope_theta", self.rope_theta, above=1.0))
        normalise("pretrain_theta", _number("pretrain_theta", self.pretrain_theta, above=1.0))
        for name in ("linear_factor", "ntk_alpha", "yarn_factor", "ntk_factor"):
            normalise(name, _number(name, getattr(self, name), least=1.0))
        for name in ("log_scale", "xpos"):
            normalise(name, _flag(name, getattr(self, name)))
        for name in ("train_length", "tune_length"):
            if getattr(self, name) is not None:
                normalise(name, _length(name, getattr(self, name)))
        normalise("dynamic_ntk", _dynamic_ntk(self.dynamic_ntk))
        _choice("ntk_formula", self.ntk_formula, ("octave", "continuous"))
        _choice("beyond_critical", self.beyond_critical, ("keep", "clip", "drop"))
        if self.reference_length not in ("extra", "train"):
            normalise("reference_length", _reference_length(self.reference_length))
        self._check_combination()

    def _check_combination(self) -> None:
        if self.yarn_factor != 1.0 and (
            self.linear_factor != 1.0 or self.ntk_alpha != 1.0 or self.dynamic_ntk
        ):
            raise SpecError(
                "yarn_factor cannot be combined with linear_factor, ntk_alpha or dynamic_ntk: "
                "each of them changes the same frequencies; leave one out"
            )
        if self.ntk_formula == "continuous" and self.dynamic_ntk != "per_sequence":
            raise SpecError(
                "ntk_formula=continuous is defined for dynamic_ntk=per_sequence alone, "
                f"got dynamic_ntk={self.dynamic_ntk}"
            )
        if self.ntk_factor != 1.0 and self.ntk_formula != "continuous":
            raise SpecError(
                f"ntk_factor={self.ntk_factor:g} has no meaning with ntk_formula="
                f"{self.ntk_formula}: set ntk_formula=continuous, or leave ntk_factor out"
            )

    @property
    def is_neutral(self) -> bool:
        """Whether the model is left as its checkpoint says."""
        return not any(name in _ACTIVE for name in self.to_dict())

    @property
    def changes_frequencies(self) -> bool:
        """Whether the rotary frequencies differ from the model's own."""
        return any(name in _FREQUENCY for name in self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as plain YAML and JSON values."""
        return {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RopeSpec:
        """Return the spec with these fields; an unknown one is a `SpecError`."""
        for name in fields:
            if name not in FIELDS:
                raise SpecError(
                    f"RopeSpec has no field {name!r}.{did_you_mean(str(name), FIELDS)} "
                    f"The fields are: {', '.join(FIELDS)}"
                )
        return cls(**fields)

    @classmethod
    def parse(cls, text: str) -> RopeSpec:
        """Return the spec written as ``rope_theta=500,log_scale=true``; an empty text is neutral.

        >>> RopeSpec.parse("rope_theta=500,log_scale=true,dynamic_ntk=per_query").to_dict()
        {'rope_theta': 500.0, 'log_scale': True, 'dynamic_ntk': 'per_query'}
        """
        return cls.from_dict(parse_fields(text))

    def fingerprint(self) -> str:
        """Return 12 hexadecimal digits that are equal for equal specs alone."""
        canonical = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return (
            ",".join(
                f"{name}={value:.10g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in self.to_dict().items()
            )
            or "neutral"
        )


def parse_fields(text: str) -> dict[str, Any]:
    """Return the fields that a setting's text gives, their values as written.

    Unlike ``RopeSpec.parse(text).to_dict()`` it has those that are given at their defaults: what
    wins over the fields of a row or a config has to be merged before it becomes a spec.

    >>> parse_fields("pretrain_theta=10000, reference_length=none")
    {'pretrain_theta': '10000', 'reference_length': None}

    Raises:
        SpecError: a part is not name=value, or a name is there twice.
    """
    fields: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise SpecError(f"a RoPE setting is written name=value, got {part!r}")
        if name in fields:
            raise SpecError(f"{name} is given twice in {text!r}")
        fields[name] = None if value.lower() == "none" else value
    return fields


FIELDS = tuple(f.name for f in dataclasses.fields(RopeSpec))
_FREQUENCY = {"rope_theta", "linear_factor", "ntk_alpha", "yarn_factor", "dynamic_ntk"}
_ACTIVE = _FREQUENCY | {"log_scale", "xpos", "beyond_critical"}


def _number(
    name: str, value: object, *, above: float | None = None, least: float | None = None
) -> float:
    wanted = f"greater than {above:g}" if above is not None else f"{least:g} or more"
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise SpecError(f"{name} must be a number {wanted}, got {value!r}") from None
    low = above if above is not None else least
    assert low is not None
    if not math.isfinite(number) or number < low or (above is not None and number == low):
        raise SpecError(f"{name} must be a finite number {wanted}, got {value}")
    return number


def _length(name: str, value: object) -> int:
    number = _number(name, value, least=SHORTEST_LENGTH)
    if number != int(number):
        raise SpecError(f"{name} must be a whole number of tokens, got {value}")
    return int(number)


def _reference_length(value: object) -> float:
    try:
        return _number("reference_length", value, above=1.0)
    except SpecError:
        raise SpecError(
            "reference_length must be extra, train, or a number of tokens greater than 1, "
            f"got {value!r}"
        ) from None


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise SpecError(f"{name} must be true or false, got {value!r}")


def _dynamic_ntk(value: object) -> DynamicNtk:
    word = str(value).lower() if isinstance(value, (bool, str)) else value
    if word == "false":
        return False
    if word in ("true", "per_query"):
        return "per_query"
    if word == "per_sequence":
        return "per_sequence"
    hint = did_you_mean(str(value), ("per_query", "per_sequence"))
    raise SpecError(f"dynamic_ntk must be false, per_query or per_sequence, got {value!r}.{hint}")


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        hint = did_you_mean(str(value), allowed)
        raise SpecError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.{hint}")
