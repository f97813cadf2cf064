"""What a position method is: its effect on the numbers, and what is known of it.

Shape letters: T positions, H head_dim, F pairs of dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rope_eval.rope.checked import Checked
from rope_eval.rope.facts import Facts, Setting
from rope_eval.rope.values import Field

if TYPE_CHECKING:
    from torch import Tensor

    from rope_eval.rope.position_maps import PositionMap

BaseChanges = Literal["never", "per_query", "per_sequence"]
Frequencies = Literal["base", "scale", "set", "mask", "off"]


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
        attention_factor: (α) to what cos and sin are multiplied by.
        schedule: where the frequencies follow the length: how.
        positions: (each pair's positions, float64 ``[T, F]``, α) to the same.
        position_map: the distance at which a query sees a key, where it is not that of their
            positions.
        query_scale: (positions ``[…]``) to what the unrotated query is multiplied by, float32
            ``[…, H]`` or ``[…, 1]``.
        pair_scale: (offsets ``[…]``) to what both dimensions of each pair are multiplied by,
            float32 ``[…, F]``: a query at t has the offset t − c and a key at s the offset c − s,
            with a centre c within the block of queries.
        longest_block: queries that may share one centre.
        reference_length: T_ref of Eqs. 16-18, where they are computed with it.
        effective_from: the first 1-based position whose query it changes while α is 1; infinite
            where it changes none. By default the second, or none where there is a schedule.
    """

    base: Callable[[float, float], float] | None = None
    frequencies: Callable[[Tensor, float], Tensor] | None = None
    attention_factor: Callable[[float], float] | None = None
    schedule: Schedule | None = None
    positions: Callable[[Tensor, float], Tensor] | None = None
    position_map: PositionMap | None = None
    query_scale: Callable[[Tensor], Tensor] | None = None
    pair_scale: Callable[[Tensor], Tensor] | None = None
    longest_block: float = math.inf
    reference_length: float = math.inf
    effective_from: float | None = None

    def shortest_text(self, read: int) -> float:
        """Return the tokens of the shortest text of which it changes a score.

        Args:
            read: how many of a text's tokens are no queries and do not count in its length; the
                last is no query, but counts where the length is that of the whole sequence.
        """
        if self.schedule is None:
            return 1 + (2 if self.effective_from is None else self.effective_from)
        at_once = math.inf if self.effective_from is None else self.effective_from
        return min(1 + at_once, self.schedule.end(1) + 1 + read)


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
class ConfigForm:
    """How a model's config asks for a method.

    Attributes:
        rope_type: transformers' name of it.
        words: which field each word of rope_parameters is; those of the same field are its lists.
        fixed: fields that the type alone stands for.
        optional: the words that a config may leave out.
        length: the config's word for the length that it scales from.
        meant: (words, max_position_embeddings over that length or None) to the words as
            transformers takes them.
    """

    rope_type: str
    words: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    length: str | None = None
    meant: Callable[[Mapping[str, Any], float | None], Mapping[str, Any]] = lambda words, ratio: (
        words
    )

    @property
    def setting(self) -> str:
        """The fields, as a person writes them."""
        shown = {field: "…" for word, field in self.words.items() if word not in self.optional}
        return ",".join(f"{name}={value}" for name, value in {**self.fixed, **shown}.items())


def with_ratio(words: Mapping[str, Any], ratio: float | None) -> dict[str, Any]:
    """Return a config's words with a factor, that of the lengths where it gives none."""
    factor = words.get("factor", ratio)
    return dict(words) if factor is None else {**words, "factor": max(1.0, factor)}


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
            every frequency by a factor, "set" computes each frequency, "mask" changes what the
            others gave (turns pairs off, rounds), "off" leaves no rotation; None leaves them alone.
            One that sets them cannot be combined with one that sets or scales, "off" with none.
        maps_positions: whether it gives a position map: two are refused.
        keeps_still: of so many decoder layers, the numbers from 0 of those that it keeps from
            rotating.
        of_still: whether it is of the layers without rotation alone, in a model that has such.
        in_probe: what its fields, where they are given, become in a probe of 12 tokens.
        needs: the lengths that its numbers depend on.
        base_changes: when a token's frequencies change.
        check: raises a `SpecError` for a combination of its fields that has no meaning.
        check_config: raises a `SpecError` for a config that a setting, the neutral one too, does
            not go together with.
        not_served: why an engine with rotated keys in its cache (vLLM) cannot serve it, or None.
        examples: settings of it that move the scores of a tiny model.
        untuned: (the length that a checkpoint is made for, a longer one) to its setting that reads
            the longer one without tuning, at its authors' sizes; None where it needs a tuning, or
            is not meant to lengthen.
        neutral: settings of it, or next to it, that change nothing there, bit for bit.
        config: how a model's config asks for it in its rope_parameters, or None where none can.
        of_config: the fields that a whole config amounts to, by its other words.
        of_parameters: those of them that are words of rope_parameters.
        to_config: what a config must say beside what it says, None where it cannot.
        checked: runs of the authors' own code beside it.
        place: where its fields stand among those of the other methods.
    """

    name: str
    says: str
    source: str
    fields: tuple[Field, ...]
    effect: Callable[[Facts], Effect] | None = None
    frequencies: Frequencies | None = None
    maps_positions: bool = False
    keeps_still: Callable[[Setting, int], frozenset[int]] = lambda spec, count: frozenset()
    of_still: Callable[[Setting], bool] = lambda spec: False
    in_probe: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[Literal["train_length", "bound"], ...] = ()
    base_changes: Callable[[Setting], BaseChanges] = lambda spec: "never"
    check: Callable[[Setting], None] = lambda spec: None
    check_config: Callable[[Setting, Mapping[str, Any]], None] = lambda spec, values: None
    not_served: Callable[[Setting], NotServed | None] = lambda spec: None
    examples: tuple[str, ...] = ()
    untuned: Callable[[int, int], str] | None = None
    neutral: tuple[str, ...] = ()
    config: ConfigForm | None = None
    of_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {}
    of_parameters: tuple[str, ...] = ()
    to_config: Callable[[Setting, Mapping[str, Any]], Mapping[str, Any] | None] | None = None
    checked: tuple[Checked, ...] = ()
    place: int = 100

    def is_active(self, spec: Setting) -> bool:
        """Whether a setting asks for it."""
        return self.effect is not None and bool(self.given(spec))

    def given(self, spec: Setting) -> list[str]:
        """Return the names of its fields that differ from their defaults."""
        return [f.name for f in self.fields if getattr(spec, f.name) != f.default]
