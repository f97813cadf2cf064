"""`Advice`: what the laws and the registry of methods say of a checkpoint and a longer context."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.rope.facts import Facts
from rope_eval.rope.methods import METHODS, not_served
from rope_eval.rope.spec import RopeSpec

_STEADY = 10.0  # a base is taken where all up to so many times as much are feasible


@dataclass(frozen=True, kw_only=True, slots=True)
class Untuned:
    """A method that reads longer texts with the weights as they are.

    Attributes:
        method: its name.
        setting: its fields.
        source: of the method.
        served: whether vLLM can serve it.
    """

    method: str
    setting: str
    source: str
    served: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """A tuning under one base.

    Attributes:
        base: rope_theta.
        length: of its windows, in tokens.
        bound: T_extra of arXiv 2310.05209 after it, in tokens.
        first_negative: the first distance up to the target with B(m) < 0; None where there is none.
    """

    base: float
    length: int
    bound: float
    first_negative: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What there is to say.

    Attributes:
        target: the context that is wanted, in tokens.
        head_dim: the rotary dimension.
        pretrain_theta: the base of pre-training.
        train_length: of pre-training, in tokens.
        tuned_at: the longest length that it was trained at so far, in tokens.
        base: the checkpoint's own.
        bound: T_extra of the checkpoint as it is, in tokens.
        first_negative: the first distance up to the target with B(m) < 0 under its base, or None.
        extrapolating_base: the least base whose bound reaches the target (2310.05209, Eq. 6).
        feasible_base: the least base of the grid with B(m) ≥ 0 up to the target (2405.14591).
        critical_base: β₀ of the tuning.
        tuning: with the base that both laws hold for: its own where that is one.
        small_tuning: with a base that every pair turns fully under in the tuning; None where the
            windows are the target's length, and where that base would be none.
        untuned: methods that may do without; none where the checkpoint reaches the target.
    """

    target: int
    head_dim: int
    pretrain_theta: float
    train_length: int
    tuned_at: int
    base: float
    bound: float
    first_negative: int | None
    extrapolating_base: float
    feasible_base: float
    critical_base: float
    tuning: Tuning
    small_tuning: Tuning | None
    untuned: tuple[Untuned, ...]

    @property
    def perplexity_holds(self) -> bool:
        """Whether the checkpoint reaches the target as it is, by 2310.05209."""
        return self.bound >= self.target

    @property
    def retrieval_holds(self) -> bool:
        """Whether its base is feasible for the target, by 2405.14591."""
        return self.first_negative is None


def advise(facts: Facts, target: int, tune_length: int | None = None) -> Advice:
    """Return what there is to say of a checkpoint and a context.

    Args:
        facts: of the checkpoint under the neutral setting, with what is given of its training.
        target: the context that is wanted, in tokens.
        tune_length: of the windows of a tuning, in tokens; by default as long as the checkpoint was
            trained at so far.

    Raises:
        SpecError: where the laws say nothing: an unknown pre-training, frequencies that are scaled
            beside the base, every pair turning fully in pre-training; or a target or a tuning that
            makes no sense.
    """
    needs = "advice"
    pretrain = float(facts.laws.require("pretrain_theta", needs, "--pretrain-theta …"))
    train = int(facts.laws.require("train_length", needs, "--train-length …"))
    if facts.doubt:
        raise SpecError(
            f"there is no advice, as the laws give no bound: {facts.doubt}. Ask for the checkpoint "
            "that it was made from, or give --train-length and --pretrain-theta if they are others"
        )
    tuned_at = int(facts.laws.tune_length.value or train)
    d, base = facts.geometry.rotary_dim, facts.rope_theta
    length = tuned_at if tune_length is None else tune_length
    if length < train:
        raise SpecError(
            f"--tune-length must be at least the {train} tokens of pre-training, got {length}: the "
            "laws are stated for no other case"
        )
    if target <= tuned_at:
        raise SpecError(
            f"--target-length must be more than the {tuned_at} tokens that the checkpoint was "
            f"trained at, got {target}: there is nothing to extend"
        )

    def tuning(of: float) -> Tuning:
        return Tuning(
            base=of,
            length=length,
            bound=theory.extrapolation_bound(
                of,
                head_dim=d,
                train_length=train,
                tune_length=length,
                pretrain_theta=pretrain,
            ),
            first_negative=theory.first_negative(of, target, d),
        )

    needed = theory.smallest_base_for(target, train_length=train, pretrain_theta=pretrain)
    least = theory.base_lower_bound(target, d)
    if least is None:
        raise SpecError(
            f"there is no advice: no base up to {theory.MAX_BASE:.0e} has B(m) ≥ 0 up to {target} "
            f"tokens with a rotary dimension of {d} (arXiv 2405.14591)"
        )
    at_least = max(least, pretrain if target <= length else needed)
    keeps = target <= length and theory.base_is_feasible(base, target, d)
    bound = facts.extrapolation_bound
    negative = theory.first_negative(base, target, d)
    holds = bound >= target and negative is None
    small = theory.pivot_bases(length)[2]
    return Advice(
        target=target,
        head_dim=d,
        pretrain_theta=pretrain,
        train_length=train,
        tuned_at=tuned_at,
        base=base,
        bound=bound,
        first_negative=negative,
        extrapolating_base=needed,
        feasible_base=least,
        critical_base=theory.critical_base(train, length, pretrain_theta=pretrain),
        tuning=tuning(base if keeps else steady_base(at_least, target, d)),
        small_tuning=tuning(_two_digits(small, math.floor)) if length < target else None,
        untuned=() if holds else _untuned(facts, tuned_at, target),
    )


def steady_base(at_least: float, length: int, head_dim: int) -> float:
    """Return a base of two digits from which on bases are feasible for a context, up to ten times.

    Args:
        at_least: the least that will do.
        length: of the context, in tokens.
        head_dim: the rotary dimension.

    Raises:
        SpecError: where there is none.
    """
    base = at_least
    while base < theory.MAX_BASE:
        found = theory.feasible_bases(
            length,
            head_dim,
            low=base,
            high=base * _STEADY,
            bases_per_decade=theory.BASES_PER_DECADE,
        )
        if found.from_here_on is not None:
            rounded = _two_digits(found.from_here_on, math.ceil)
            if theory.base_is_feasible(rounded, length, head_dim):
                return rounded
        base *= 1.1
    raise SpecError(f"no base up to {theory.MAX_BASE:.0e} is feasible for {length} tokens")


def _two_digits(value: float, rounding: Callable[[float], int]) -> float:
    """Return a base with two digits; one that has no more is not changed."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = round(value / unit, 9)
    return float(round(rounding(digits) * unit))


def _untuned(facts: Facts, made_for: int, target: int) -> tuple[Untuned, ...]:
    found = []
    for method in METHODS:
        if method.untuned is None:
            continue
        spec = RopeSpec.parse(method.untuned(made_for, target))
        found.append(
            Untuned(
                method=method.name,
                setting=str(spec),
                source=method.source,
                served=not_served(spec) is None,
            )
        )
    return tuple(found)
