"""What ``rope-eval theory`` says by other papers than arXiv 2310.05209: facts and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rope_eval import theory
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length

Facts = dict[str, Any]
Rows = list[tuple[str, str, str]]
More = tuple[Facts, Rows]

FEASIBLE_GRID = theory.BASES_PER_DECADE
"""Bases a decade, of the slivers: a coarser one passes over those that are not feasible."""

ROUND = 2.0
"""A base's surroundings are from half of it to its double."""

UPWARDS = 10.0
"""Feasible from here on is looked for up to so many times the lower bound."""

LONGEST_DISTURBANCE = 1 << 20
"""Tokens up to which positions are counted one by one."""


def slowed(rope_theta: float, *, head_dim: int, pretrain_theta: float) -> More:
    """Say by how much another base slows the pairs; nothing where it is the same."""
    if rope_theta == pretrain_theta:
        return {}, []
    factors = theory.slowdown(rope_theta, head_dim=head_dim, pretrain_theta=pretrain_theta)
    middle, last = factors[len(factors) // 2], factors[-1]
    meaning = f"times in the last pair, {middle:.3g} in the middle (ABF: arXiv 2309.16039)"
    return {"slowdown": list(factors)}, [("slowed by", f"{last:.3g}", meaning)]


def fitted(
    measured: Sequence[str], rope_theta: float, *, head_dim: int, critical_dimension: int
) -> More:
    """Say which critical dimension measured contexts show; nothing where there are none.

    Args:
        measured: contexts, each ``LENGTH``, at `rope_theta`, or ``BASE=LENGTH``.
        rope_theta: the base.
        head_dim: the rotary dimension.
        critical_dimension: by theory.
    """
    if not measured:
        return {}, []
    contexts: dict[float, float] = {}
    for text in measured:
        base, equals, length = text.rpartition("=")
        try:
            at = float(base) if equals else rope_theta
        except ValueError:
            raise SpecError(f"--measured is LENGTH or BASE=LENGTH, got {text!r}") from None
        if at in contexts:
            raise SpecError(f"--measured gives two contexts for the base {at:g}: give one")
        contexts[at] = parse_length(length)
    fit = theory.fitted_critical_dimension(contexts, head_dim=head_dim)
    meaning = (
        f"{fit.pairs:.1f} pairs for {critical_dimension // 2} by theory; one more is "
        f"×{fit.resolution:.2f} in the bound (arXiv 2502.20082)"
    )
    if len(contexts) > 1:
        meaning += f"; the worst context lies off by ×{fit.largest_residual:.2f}"
    facts = {"fitted_critical_dimension": asdict(fit) | {"pairs": fit.pairs}}
    return facts, [("fitted dimension", f"{fit.dimensions:.1f}", meaning)]


def feasible(target: int, lower_bound: float | None, rope_theta: float, *, head_dim: int) -> More:
    """Say how wide feasible bases lie for a length, and what the fit of their bound gives."""
    fit = theory.fitted_base_bound(target)
    around = theory.feasible_bases(
        target,
        head_dim,
        low=max(rope_theta / ROUND, 1.1),
        high=rope_theta * ROUND,
        bases_per_decade=FEASIBLE_GRID,
    )
    facts: dict[str, Any] = {"fitted_base_bound": fit, "feasible_share": around.share}
    rows = [
        (
            "bound by its fit",
            f"{fit:.3g}",
            "0.0424·L^1.628 (arXiv 2405.14591)",
        ),
        (
            "feasible round base",
            f"{around.share:.0%}",
            f"of the bases from {around.low:.3g} to {around.high:.3g} are feasible",
        ),
    ]
    if lower_bound is None:
        return facts, rows
    above = theory.feasible_bases(
        target,
        head_dim,
        low=lower_bound,
        high=lower_bound * UPWARDS,
        bases_per_decade=FEASIBLE_GRID,
    )
    start = above.from_here_on
    facts["feasible_from"] = start
    facts["slivers"] = [asdict(sliver) | {"width": sliver.width} for sliver in above.slivers]
    meaning = f"every base from there to {above.high:.2g} is feasible"
    if start is not None and len(above.slivers) > 1:
        widest = max(sliver.width for sliver in above.slivers[:-1])
        meaning += f"; {len(above.slivers) - 1} slivers before it, up to ×{widest:.2f} wide"
    rows.append(("feasible from", "none" if start is None else f"{start:.3g}", meaning))
    return facts, rows


def disturbed(
    target: int,
    rope_theta: float,
    *,
    head_dim: int,
    train_length: int,
    pretrain_theta: float,
) -> More:
    """Say how far a longer text's angles are from those of pre-training."""
    if not train_length < target <= LONGEST_DISTURBANCE:
        return {}, []
    ratio = target / train_length

    def of(base: float, scale: float) -> tuple[float, ...]:
        return theory.angle_disturbance(
            target,
            head_dim=head_dim,
            train_length=train_length,
            rope_theta=base,
            scales=scale,
            pretrain_theta=pretrain_theta,
        )

    plain, scaled = of(rope_theta, 1.0), of(pretrain_theta, ratio)
    own = of(pretrain_theta, 1.0)
    found = {
        "as it is": sum(plain) / len(plain),
        "interpolated": sum(scaled) / len(scaled),
        "less of both": sum(map(min, own, scaled)) / len(own),
    }
    meaning = (
        f"nats a pair; interpolated by {ratio:.3g} {found['interpolated']:.3f}, the less disturbed "
        f"of own and interpolated in each pair {found['less of both']:.3f} (arXiv 2410.01490)"
    )
    return {"angle_disturbance": found}, [
        ("disturbed angles", f"{found['as it is']:.3f}", meaning),
    ]
