"""What a finding is: a claim of a paper, our numbers, and a verdict that follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from tabulate import tabulate

from rope_eval.labels import base_label
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A statement of the paper that numbers decide; None where they leave it open."""

    statement: str
    holds: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure of a finding.

    Attributes:
        file: the name of its file.
        shows: what is seen, for those who do not see it.
        draw: returns the figure.
    """

    file: str
    shows: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A claim of a paper against what was measured.

    Attributes:
        name: short, for the terminal and as the key in ``findings.json``.
        title: heading of the section.
        source: where the claim stands.
        claim: what the paper says, in a sentence or two.
        basis: documents, sets and seeds that the numbers come from.
        numbers: everything that was worked out, as plain JSON values.
        headline: the one or two numbers that matter.
        checks: what the verdict follows from.
        tables: Markdown, each with the words that introduce it.
        pictures: the figures.
        definitions: how the numbers are made.
        missing: why there are no numbers; None where there are.
    """

    name: str
    title: str
    source: str
    claim: str
    basis: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    headline: str = ""
    checks: tuple[Check, ...] = ()
    tables: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    definitions: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def verdict(self) -> str:
        """Whether it agrees: all checks hold; in part: some do; else it disagrees."""
        if self.missing is not None:
            return "not measured"
        if not self.checks:
            return "no claim to check"
        decided = {check.holds for check in self.checks} - {None}
        if not decided:
            return "not decided"
        if all(check.holds for check in self.checks):
            return "agrees"
        return "agrees in part" if True in decided else "disagrees"


def above_zero(statement: str, estimate: Estimate) -> Check:
    """Return the check that a difference is above zero; open where its interval has zero."""
    return Check(statement=statement, holds=None if estimate.sign == 0 else estimate.sign > 0)


def below_zero(statement: str, estimate: Estimate) -> Check:
    """Return the check that a difference is below zero; open where its interval has zero."""
    return Check(statement=statement, holds=None if estimate.sign == 0 else estimate.sign < 0)


def basis(laboratory: Laboratory, checkpoints: Iterable[Checkpoint]) -> str:
    """Return documents, sets and seeds of curves, and how intervals are made."""
    repeated: dict[int, set[float]] = {}
    for checkpoint in checkpoints:
        count = len(laboratory.seeds_of(checkpoint))
        if count > 1:
            repeated.setdefault(count, set()).add(checkpoint.base)
    seeds = "".join(
        f"; {count} seeds of the tuning for the bases {', '.join(map(base_label, sorted(bases)))} "
        "(see the spread over seeds)"
        for count, bases in sorted(repeated.items())
    )
    return (
        f"{laboratory.documents} documents of {laboratory.text['tokens']} tokens, in "
        f"{laboratory.sets} disjoint sets; one seed for each checkpoint{seeds}. Intervals are "
        "95 %, by bootstrap over documents, paired; a / b / c are the values in each set."
    )


def table(
    words: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> str:
    """Return a Markdown table below the words that introduce it."""
    return f"{words}:\n\n{markdown_table(headers, rows, left=left)}"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a table whose first cells are set left and whose others are set right."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    align = ["left"] * left + ["right"] * (len(headers) - left)
    return tabulate(
        cells,
        headers=headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=align[: len(headers)],
    )


def with_interval(estimate: Estimate, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number with its interval, as in ``0.12 [0.10, 0.14]``, or a dash."""
    if not math.isfinite(estimate.value):
        return "–"
    value, low, high = (
        _fixed(x, digits, signed) for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def answer(estimate: Estimate) -> str:
    """Return whether a difference is above zero, as a word."""
    return {1: "yes", 0: "open", -1: "no"}[estimate.sign]


def spread(estimate: Estimate, digits: int = 3, *, signed: bool = False) -> str:
    """Return the values in each of the sets."""
    return " / ".join(_fixed(x, digits, signed) for x in estimate.sets)


def _fixed(value: float, digits: int, signed: bool) -> str:
    if not math.isfinite(value):
        return "–"
    # Adding zero takes the sign from what rounds to it.
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def tokens(estimate: Estimate, longest: int) -> str:
    """Return lengths with their interval, as in ``512 [470, 558]``; ``> 4096`` past the longest."""
    return (
        f"{length(estimate.value, longest)} "
        f"[{length(estimate.low, longest)}, {length(estimate.high, longest)}]"
    )


def length(value: float, longest: int) -> str:
    """Return a length, or that it is beyond the longest that was measured."""
    return f"> {longest}" if value >= longest else f"{value:.0f}"


def perplexity(nll: float) -> str:
    """Return e^nll to three digits, or as a power of ten where it has exploded."""
    value = math.exp(nll) if nll < 700 else math.inf
    return f"{value:.2f}" if value < 1000 else f"1e{nll / math.log(10):.0f}"


def percent(part: float) -> str:
    """Return a part of one in percent."""
    return f"{100 * part:.0f} %"
