"""What a position method is: its fields, its effect on the numbers, and what is known of it.

Shape letters: T positions, H head_dim, F pairs of dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.rope.facts import Facts, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.rope.position_maps import PositionMap

BaseChanges = Literal["never", "per_query", "per_sequence"]
Frequencies = Literal["base", "scale", "set", "mask"]
FACTOR = "FACTOR"
SHORTEST_LENGTH = 7  # the laws take the logarithm of length / 2π, which must be positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of `RopeSpec`.

    Attributes:
        name: as it is written.
        default: with which nothing changes.
        type: for signatures and readers.
        parse: takes the name and a value, as given or as text; returns it checked or raises a
            `SpecError`.
        says: what it is, in a line.
        live: two settings that differ in this field alone; a test sees the scores move.
    """

    name: str
    default: Any
    type: Any
    parse: Callable[[str, object], object]
    says: str
    live: tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the frequencies follow the length.

    Attributes:
        alpha: of a query's 1-based position, or of a sequence's length: the number that the
            frequencies depend on; 1 where they are as without the method.
        end: the last length that has the same one.
        tables: how many of them are worth keeping, as they come again.
    """

    alpha: Callable[[int], float]
    end: Callable[[int], float]
    tables: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What a method does to a checkpoint's numbers; what is left out it leaves alone.

    Attributes:
        base: (base, α) to the base.
        frequencies: (frequencies of the base float64 ``[F]``, α) to frequencies.
        attention_factor: what cos and sin are multiplied by.
        schedule: where the frequencies follow the length: how.
        positions: each pair's positions, float64 ``[T, F]``, to the same.
        position_map: the distance at which a query sees a key, where it is not that of their
            positions.
        query_scale: (positions ``[…]``) to what the unrotated query is multiplied by, float32
            ``[…, H]`` or ``[…, 1]``.
        pair_scale: (offsets ``[…]``) to what both dimensions of each pair are multiplied by,
            float32 ``[…, F]``: a query at t has the offset t − c and a key at s the offset c − s,
            with a centre c within the block of queries.
        longest_block: queries that may share one centre.
        reference_length: T_ref of Eqs. 16-18, where they are computed with it.
        effective_from: the first 1-based position whose query it changes; infinite where it changes
            none. With a schedule it is where that leaves 1.
    """

    base: Callable[[float, float], float] | None = None
    frequencies: Callable[[Tensor, float], Tensor] | None = None
    attention_factor: float = 1.0
    schedule: Schedule | None = None
    positions: Callable[[Tensor], Tensor] | None = None
    position_map: PositionMap | None = None
    query_scale: Callable[[Tensor], Tensor] | None = None
    pair_scale: Callable[[Tensor], Tensor] | None = None
    longest_block: float = math.inf
    reference_length: float = math.inf
    effective_from: float = 2

    def begins(self) -> float:
        """Return `effective_from`, of a schedule too."""
        return self.effective_from if self.schedule is None else self.schedule.end(1) + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class NotServed:
    """What of a method an engine with rotated keys in its cache cannot serve.

    Attributes:
        setting: the field and its value.
        why: the reason, as a clause.
        instead: the setting that it can serve.
    """

    setting: str
    why: str
    instead: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A position method: all that is to be said of it.

    Attributes:
        name: what it is called.
        says: what it changes, in a line.
        source: where it is from.
        fields: of `RopeSpec`; it is active where one differs from its default.
        effect: what it does to the numbers of a checkpoint, where it is active; None for what is no
            method but a fact that methods compute with.
        frequencies: "base" gives the base that the others start from, "scale" changes the base or
            every frequency by a factor, "set" computes each frequency, "mask" turns pairs off; None
            leaves them alone. One that sets them cannot be combined with one that sets or scales.
        maps_positions: whether it gives a position map: two are refused.
        in_probe: what its fields, where they are given, become in a probe of 12 tokens.
        needs: the lengths that its numbers depend on.
        base_changes: when a token's frequencies change.
        check: raises a `SpecError` for a combination of its fields that has no meaning.
        not_served: why an engine with rotated keys in its cache (vLLM) cannot serve it, or None.
        examples: settings of it that move the scores of a tiny model.
        neutral: settings of it, or next to it, that change nothing there, bit for bit.
        rope_type: where a config may ask for it: transformers' name, and the setting that is the
            same, with `FACTOR` for the config's factor.
        place: where its fields stand among those of the other methods.
    """

    name: str
    says: str
    source: str
    fields: tuple[Field, ...]
    effect: Callable[[Facts], Effect] | None = None
    frequencies: Frequencies | None = None
    maps_positions: bool = False
    in_probe: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[Literal["train_length", "bound"], ...] = ()
    base_changes: Callable[[Setting], BaseChanges] = lambda spec: "never"
    check: Callable[[Setting], None] = lambda spec: None
    not_served: Callable[[Setting], NotServed | None] = lambda spec: None
    examples: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    rope_type: tuple[str, str] | None = None
    place: int = 100

    def is_active(self, spec: Setting) -> bool:
        """Whether a setting asks for it."""
        return self.effect is not None and bool(self.given(spec))

    def given(self, spec: Setting) -> list[str]:
        """Return the names of its fields that differ from their defaults."""
        return [f.name for f in self.fields if getattr(spec, f.name) != f.default]


# ---- parsers of fields -------------------------------------------------------------------------


def number(*, above: float | None = None, least: float | None = None) -> Callable[..., float]:
    """Return a parser of finite numbers, greater than `above` or `least` and more."""
    wanted = f"greater than {above:g}" if above is not None else f"{least:g} or more"

    def parse(name: str, value: object) -> float:
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise TypeError
            found = float(value)
        except (TypeError, ValueError):
            raise SpecError(f"{name} must be a number {wanted}, got {value!r}") from None
        low = above if above is not None else least
        assert low is not None
        if not math.isfinite(found) or found < low or (above is not None and found == low):
            raise SpecError(f"{name} must be a finite number {wanted}, got {value}")
        return found

    return parse


def flag(name: str, value: object) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise SpecError(f"{name} must be true or false, got {value!r}")


def choice(*allowed: str) -> Callable[[str, object], object]:
    """Return a parser of one of the words."""

    def parse(name: str, value: object) -> object:
        if value not in allowed:
            hint = did_you_mean(str(value), allowed)
            raise SpecError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.{hint}")
        return value

    return parse


def length(name: str, value: object) -> int:
    """Return a whole number of tokens, long enough for the laws."""
    found = number(least=SHORTEST_LENGTH)(name, value)
    if found != int(found):
        raise SpecError(f"{name} must be a whole number of tokens, got {value}")
    return int(found)


def optional(parse: Callable[[str, object], object]) -> Callable[[str, object], object]:
    """Return a parser that also takes None."""
    return lambda name, value: None if value is None else parse(name, value)
