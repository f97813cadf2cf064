"""What the measurements say of a claim: statements, the points they are tested at, and a grade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from studies.scaling_laws.sampling import Estimate

NAMED = 6  # points that are named one by one; of more their number is said

RULE = (
    "A statement is tested at points: at each it holds, the contrary holds, or it is open. Where "
    "an interval decides, all of it must lie on one side; a point that one seed alone answers the "
    "other way is open. Supported: it holds at every point. Supported within a range: at half of "
    "the points or more. Contradicted: the contrary holds at more than half. Not seen: anything "
    "else. Controls say whether a test could have shown anything; they are counted in no grade. "
    "Every statement about a loss is judged at 2, 4, 8, 16 and 32 times T_train, as far as these "
    "lie past the T_extra of what is compared against. Each criterion stands in the code of its "
    "claim: what is measured next is judged by it as it stands; the measurements of the "
    "repository are older than these criteria."
)


class Grade(StrEnum):
    """How a statement stands after it was tested: see `RULE`."""

    SUPPORTED = "supported"
    WITHIN = "supported within a range"
    NOT_SEEN = "not seen"
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A statement at one point.

    Attributes:
        statement: what is claimed, the same at every point.
        at: the point, such as a base or a length.
        holds: whether it holds; None where that is open.
        subject: what it is claimed of, where a finding has several, such as a method.
        control: whether it is no claim but says that the test could have shown one.
        seeds: seeds of the tuning that alone say the contrary.
    """

    statement: str
    at: str
    holds: bool | None
    subject: str = ""
    control: bool = False
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A statement with all of its points."""

    checks: tuple[Check, ...]

    @property
    def subject(self) -> str:
        """What it is claimed of, or nothing."""
        return self.checks[0].subject

    @property
    def claimed(self) -> str:
        """What is claimed, without its subject."""
        return self.checks[0].statement

    @property
    def text(self) -> str:
        """The whole statement."""
        return f"{self.subject} {self.claimed}".strip()

    @property
    def control(self) -> bool:
        """Whether it is a control."""
        return self.checks[0].control

    @property
    def grade(self) -> Grade:
        """The grade of `RULE`."""
        points = len(self.checks)
        holding, contrary = (len(self.at(holds)) for holds in (True, False))
        if holding == points:
            return Grade.SUPPORTED
        if 2 * holding >= points:
            return Grade.WITHIN
        return Grade.CONTRADICTED if 2 * contrary > points else Grade.NOT_SEEN

    def at(self, holds: bool | None) -> list[str]:
        """Return the points of an answer."""
        return [check.at for check in self.checks if check.holds is holds]

    @property
    def tested(self) -> str:
        """Where it holds, where the contrary does, and where it is open, in words."""
        parts = []
        for holds, words in ((True, "holds"), (False, "the contrary holds"), (None, "open")):
            points = self.at(holds)
            if not points:
                continue
            if len(points) == len(self.checks):
                parts.append(f"{words} at all {len(points)}: {_named(points)}")
            elif len(points) <= NAMED:
                parts.append(f"{words} at {_named(points)}")
            else:
                parts.append(f"{words} at {len(points)} of {len(self.checks)}")
        return "; ".join(parts)


def _named(points: Sequence[str]) -> str:
    if len(points) <= 2 * NAMED:
        return ", ".join(points)
    return f"{points[0]} to {points[-1]}"


def statements(checks: Iterable[Check]) -> tuple[Statement, ...]:
    """Return the checks by their statements, in the order in which these come first."""
    found: dict[tuple[str, str, bool], list[Check]] = {}
    for check in checks:
        found.setdefault((check.subject, check.statement, check.control), []).append(check)
    return tuple(Statement(checks=tuple(some)) for some in found.values())


def against_seeds(
    checks: Sequence[Check], alone: Mapping[int, Sequence[Check]]
) -> tuple[Check, ...]:
    """Return the checks, those open that one seed alone answers the other way.

    Args:
        checks: of all seeds.
        alone: the checks of each seed by itself.
    """
    answers = {seed: {_point(check): check.holds for check in some} for seed, some in alone.items()}
    found = []
    for check in checks:
        others = {seed: one.get(_point(check)) for seed, one in answers.items()}
        contrary = tuple(
            seed
            for seed, holds in others.items()
            if None not in (holds, check.holds) and holds is not check.holds
        )
        found.append(replace(check, holds=None, seeds=contrary) if contrary else check)
    return tuple(found)


def _point(check: Check) -> tuple[str, str, str]:
    return check.subject, check.statement, check.at


def above_zero(statement: str, at: str, estimate: Estimate, *, control: bool = False) -> Check:
    """Return the check that a difference is above zero; open where its interval has zero."""
    holds = None if estimate.sign == 0 else estimate.sign > 0
    return Check(statement=statement, at=at, holds=holds, control=control)


def below_zero(statement: str, at: str, estimate: Estimate, *, control: bool = False) -> Check:
    """Return the check that a difference is below zero; open where its interval has zero."""
    holds = None if estimate.sign == 0 else estimate.sign < 0
    return Check(statement=statement, at=at, holds=holds, control=control)


def within(
    statement: str, at: str, estimate: Estimate, low: float, high: float, *, control: bool = False
) -> Check:
    """Return the check that a number lies between two; open where its interval has one of them."""
    holds = None
    if low <= estimate.low and estimate.high <= high:
        holds = True
    elif estimate.high < low or estimate.low > high:
        holds = False
    return Check(statement=statement, at=at, holds=holds, control=control)
