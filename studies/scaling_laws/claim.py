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
from studies.scaling_laws.verdicts import Check, Grade, Statement, statements


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
        checks: what the verdict follows from, controls among them.
        criterion: what was asked of a point to count, in words.
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
    criterion: str = ""
    tables: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    definitions: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What is claimed, each with the points that it was tested at."""
        return tuple(one for one in statements(self.checks) if not one.control)

    @property
    def controls(self) -> tuple[Statement, ...]:
        """What says whether the tests could have shown anything."""
        return tuple(one for one in statements(self.checks) if one.control)

    @property
    def verdict(self) -> str:
        """How many statements have each grade."""
        if self.missing is not None:
            return "not measured"
        grades = [one.grade for one in self.statements]
        if not grades:
            return "no claim to check"
        counts = {grade: grades.count(grade) for grade in Grade}
        return ", ".join(f"{n} {grade}" for grade, n in counts.items() if n)


def basis(laboratory: Laboratory, checkpoints: Iterable[Checkpoint]) -> str:
    """Return documents, sets and seeds of curves, and how intervals are made."""
    repeated: dict[int, set[float]] = {}
    for checkpoint in checkpoints:
        count = len(laboratory.seeds_of(checkpoint))
        if count > 1:
            repeated.setdefault(count, set()).add(checkpoint.base)
    seeds = "".join(
        f"; {count} seeds of the tuning for the bases {', '.join(map(base_label, sorted(bases)))}, "
        "whose mean is shown"
        for count, bases in sorted(repeated.items())
    )
    return (
        f"{laboratory.documents} documents of {laboratory.text['tokens']} tokens, in "
        f"{laboratory.sets} disjoint sets; one pre-training; one seed of each tuning{seeds}. "
        "Intervals are 95 %, by bootstrap over documents, paired, and over seeds (a tuning that "
        "was run once has the spread of those that were repeated; what no seed but the first was "
        "measured under has none); a / b / c are the values in each set."
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
