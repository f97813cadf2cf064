"""What arXiv 2310.05209, App. D says of position methods, as checks."""

from __future__ import annotations

from collections.abc import Sequence

from studies.scaling_laws.finding import Check, base_label, decided
from studies.scaling_laws.findings.comparison import compare
from studies.scaling_laws.findings.measured_methods import (
    LOG,
    NTK,
    WRONG_NTK,
    Groups,
    Measured,
)
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Floats
from studies.scaling_laws.scores import cumulative_nll

NOTABLE = 0.1
"""Part of the loss that extrapolation adds; a method that moves it by less does almost nothing."""


def claims(laboratory: Laboratory, panels: Groups, length: int) -> list[Check]:
    """Check what is said of each panel, at a length."""
    return [
        *_own_base(panels.own, length),
        *_smaller_bases(laboratory, panels.smaller, length),
        *_larger_bases(laboratory, panels.larger, length),
    ]


def _own_base(own: Sequence[Measured], length: int) -> list[Check]:
    checks = []
    for m in own:
        if (LOG, length) not in m.against:
            continue
        difference = m.against[LOG, length].difference
        if m.checkpoint.dropped:
            statement = f"log scale helps {m.checkpoint.name}"
            checks.append(Check(statement=statement, holds=decided(difference, above=False)))
        else:
            statement = f"log scale does almost nothing for {m.checkpoint.name}"
            little = abs(difference.value) < NOTABLE * m.excess[length]
            checks.append(Check(statement=statement, holds=little))
    return checks


def _smaller_bases(laboratory: Laboratory, smaller: Sequence[Measured], length: int) -> list[Check]:
    both = [m for m in smaller if {(LOG, length), (NTK, length)} <= set(m.against)]
    if len(both) < 2:
        return []
    small, large = both[0].checkpoint, both[-1].checkpoint
    words = f"for the base {base_label(small.base)} than for {base_label(large.base)}"
    return [
        Check(
            statement=f"log scale takes off more {words}",
            holds=_gains_more(laboratory, small, large, LOG, length),
        ),
        Check(
            statement=f"dynamic NTK takes off less {words}",
            holds=_gains_more(laboratory, large, small, NTK, length),
        ),
        Check(
            statement=f"dynamic NTK does harm to the base {base_label(small.base)}",
            holds=decided(both[0].against[NTK, length].difference, above=True),
        ),
    ]


def _gains_more(
    laboratory: Laboratory, more: Checkpoint, less: Checkpoint, method: str, length: int
) -> bool | None:
    """Return whether a method takes more off one checkpoint's loss than off another's."""

    def gain(checkpoint: Checkpoint) -> Floats:
        own, other = laboratory.trained(checkpoint), laboratory.curves[checkpoint.name, method]
        sample = laboratory.sample
        return cumulative_nll(own, sample, length) - cumulative_nll(other, sample, length)

    return decided(laboratory.sample.estimate(gain(more) - gain(less)), above=True)


def _larger_bases(laboratory: Laboratory, larger: Sequence[Measured], length: int) -> list[Check]:
    checks = []
    for m in larger:
        if (NTK, length) in m.against:
            checks.append(
                Check(
                    statement=f"correct dynamic NTK helps {m.checkpoint.name}",
                    holds=decided(m.against[NTK, length].difference, above=False),
                )
            )
        correct = laboratory.curve(m.checkpoint, NTK)
        wrong = laboratory.curve(m.checkpoint, WRONG_NTK)
        if (
            correct is not None
            and wrong is not None
            and length in correct.lengths
            and length in wrong.lengths
        ):
            difference = compare(laboratory, correct, wrong, length).difference
            checks.append(
                Check(
                    statement=f"correct dynamic NTK is better than wrong for {m.checkpoint.name}",
                    holds=decided(difference, above=False),
                )
            )
    return checks
