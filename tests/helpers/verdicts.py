"""What a finding's statements were given, for the tests of claims."""

from __future__ import annotations

from studies.scaling_laws.claim import Finding


def answers(found: Finding) -> dict[tuple[str, str], bool | None]:
    """Return whether each statement holds at each of its points; of claims and controls alike."""
    return {(f"{c.subject} {c.statement}".strip(), c.at): c.holds for c in found.checks}


def grades(found: Finding) -> dict[str, str]:
    """Return the grade of each statement that is no control."""
    return {one.text: str(one.grade) for one in found.statements}
