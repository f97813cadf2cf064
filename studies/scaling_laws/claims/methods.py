"""App. D, Fig. 11: log scale, xPos and dynamic NTK, on smaller and larger bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from studies.scaling_laws import tunings
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    basis,
    perplexity,
    table,
)
from studies.scaling_laws.names import ALSO_WRONG, AS_TRAINED, WRONG
from studies.scaling_laws.names import METHODS as MEASURED
from studies.scaling_laws.runs import JUDGED, Checkpoint, Curve, Laboratory
from studies.scaling_laws.sampling import Floats, plain
from studies.scaling_laws.scores import Difference, compare, cumulative_nll, perplexities
from studies.scaling_laws.verdicts import Check, above_zero, below_zero, statements, within

SHOWN = (8, 32)  # multiples of T_train in the tables; all judged ones are in the numbers
PANELS = 3  # of a row of the figure
LOG, NTK, PER_SEQUENCE = "log", "ntk", "ntk per_sequence"
METHODS = (
    *(name for name, fields in MEASURED.items() if "beyond_critical" not in fields),
    *(name + WRONG for name in ALSO_WRONG),
)

NOTABLE = 0.1
"""Part of the loss that extrapolation adds; a method that moves it by less does almost nothing."""

NOTHING = 0.001
"""Nats a token up to which a method that should change nothing changes nothing."""

CRITERION = (
    "the whole interval of a difference of cumulative losses lies on the side that is claimed, at "
    f'every judged length past T_extra; "almost nothing" is less than {NOTABLE:.0%} of what '
    "extrapolation adds to the loss. Control: within T_train dynamic NTK changes nothing, to "
    f"{NOTHING} nats."
)

DOTTED = {"ls": (0, (1, 1))}
LOOKS: dict[str, dict[str, Any]] = {
    AS_TRAINED: {"color": style.BLACK, "lw": 2.2},
    LOG: {"color": style.BLUE},
    "xpos": {"color": style.SKY, **DOTTED},
    "log+xpos": {"color": style.SKY},
    NTK: {"color": style.RED},
    "ntk+xpos": {"color": style.PURPLE, **DOTTED},
    "ntk+log": {"color": style.ORANGE},
    "ntk+log+xpos": {"color": style.PURPLE},
    PER_SEQUENCE: {"color": style.GREEN},
}
LOOKS |= {name + WRONG: {**LOOKS[name], "ls": (0, (3, 1.5))} for name in ALSO_WRONG}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A checkpoint under the position methods.

    Attributes:
        checkpoint: the checkpoint.
        curves: its curves by method, "as trained" first.
        against: the checkpoint against itself as it was trained, by (method, length).
        excess: cumulative loss at a length above that at T_tune, as trained, nats a token and at
            least 0; by length.
        judged: the lengths that statements are judged at.
    """

    checkpoint: Checkpoint
    curves: Mapping[str, Curve]
    against: Mapping[tuple[str, int], Difference]
    excess: Mapping[int, float]
    judged: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "excess": plain(self.excess),
            "methods": [
                {"method": method, "length": length, **plain(difference)}
                for (method, length), difference in self.against.items()
            ],
        }


def measured(laboratory: Laboratory, lengths: Sequence[int]) -> list[Measured]:
    """Return the checkpoints that any method was measured on, of one seed each."""
    found = []
    for checkpoint in laboratory.checkpoints:
        curves = {
            method: curve
            for method in (AS_TRAINED, *METHODS)
            if (curve := laboratory.curve(checkpoint, method)) is not None
        }
        if checkpoint != laboratory.seeds_of(checkpoint)[0] or len(curves) < 2:
            continue
        trained = curves[AS_TRAINED]
        within, *beyond = (
            cumulative_nll(trained, laboratory.sample, length)[0]
            for length in (checkpoint.tune_length, *lengths)
        )
        found.append(
            Measured(
                checkpoint=checkpoint,
                curves=curves,
                against={
                    (method, length): compare(laboratory, *both, length)
                    for method in curves
                    if (both := tunings.pair(laboratory, checkpoint, method)) is not None
                    for length in lengths
                    if length in both[0].lengths
                },
                excess={
                    length: max(float(nll - within), 0.0)
                    for length, nll in zip(lengths, beyond, strict=True)
                },
                judged=laboratory.judged(checkpoint),
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """What Fig. 11 shows: the base of pre-training, smaller bases, larger ones; T_tune = T_train.

    Those trained without the dimensions beyond the critical one are in the first group alone.
    """

    own: tuple[Measured, ...]
    smaller: tuple[Measured, ...]
    larger: tuple[Measured, ...]


def groups(found: Sequence[Measured], pretrain_theta: float, train_length: int) -> Groups:
    """Sort into the groups of Fig. 11."""
    same = [m for m in found if m.checkpoint.tune_length == train_length]
    whole = [m for m in same if not m.checkpoint.dropped]
    return Groups(
        own=tuple(m for m in same if m.checkpoint.base == pretrain_theta),
        smaller=tuple(m for m in whole if m.checkpoint.base < pretrain_theta),
        larger=tuple(m for m in whole if m.checkpoint.base > pretrain_theta),
    )


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    lengths = laboratory.multiples(1, *JUDGED)
    shown = laboratory.multiples(*SHOWN)
    found = measured(laboratory, lengths)
    if not found or not shown:
        raise DataError("no checkpoint under any position method")
    sorted_found = groups(found, laboratory.pretrain_theta, laboratory.train_length)
    sequence = {
        (m.checkpoint.name, n): difference
        for m in found
        for n in shown
        if (difference := _between(laboratory, m, NTK, PER_SEQUENCE, n)) is not None
    }
    checks = [
        *_own_base(sorted_found.own),
        *_smaller_bases(laboratory, sorted_found.smaller),
        *_larger_bases(laboratory, sorted_found.larger),
        *_controls(found, laboratory.train_length),
    ]
    return Finding(
        name="methods",
        title="Log scale, xPos and dynamic NTK",
        source="arXiv 2310.05209, App. D and Fig. 11",
        claim="Log-scaled attention does almost nothing for the base of pre-training, but helps "
        "the model tuned without the dimensions beyond the critical one. As the base is reduced, "
        "log scale helps more and dynamic NTK less, up to doing harm. For larger bases dynamic "
        'NTK helps, where it refers to T_extra ("correct") and not to T_train ("wrong").',
        basis=basis(laboratory, [m.checkpoint for m in found]),
        numbers={
            "checkpoints": [m.to_dict() for m in found],
            "per_query_minus_per_sequence": [
                {"checkpoint": name, "length": length, **plain(difference)}
                for (name, length), difference in sequence.items()
            ],
        },
        headline="; ".join(
            f"{one.text}: {one.grade}" for one in statements(checks) if not one.control
        ),
        checks=tuple(checks),
        criterion=CRITERION,
        tables=(*(_methods(found, n) for n in shown), _sequence_table(sequence, shown)),
        pictures=(
            Picture(
                file="methods.png",
                shows="cumulative perplexity against length under each position method, a panel a "
                "checkpoint: the base of pre-training, smaller bases, larger bases, three of each",
                draw=partial(_draw, sorted_found),
            ),
        ),
        definitions=(
            "Differences are paired by documents, to the same checkpoint as it was trained, in "
            "nats a token of the cumulative loss; below zero the method helps. Methods refer to "
            'T_extra, "(wrong)" ones to T_train; where the two are equal, there is no wrong one.',
        ),
    )


def _between(
    laboratory: Laboratory, one: Measured, method: str, other: str, length: int
) -> Difference | None:
    """Compare two methods on a checkpoint; None where either was not measured at the length."""
    both = tunings.pair(laboratory, one.checkpoint, method, other)
    if both is None or any(length not in curve.lengths for curve in both):
        return None
    return compare(laboratory, *both, length)


def _own_base(own: Sequence[Measured]) -> list[Check]:
    checks = []
    for m in own:
        for n in m.judged:
            if (LOG, n) not in m.against:
                continue
            difference, at = m.against[LOG, n].difference, f"{m.checkpoint.tuning} at {n}"
            if m.checkpoint.dropped:
                statement = "log scale helps where the dimensions beyond were dropped in tuning"
                checks.append(below_zero(statement, at, difference))
            else:
                statement = "log scale does almost nothing for the base of pre-training"
                little = NOTABLE * m.excess[n]
                checks.append(within(statement, at, difference, -little, little))
    return checks


def _smaller_bases(laboratory: Laboratory, smaller: Sequence[Measured]) -> list[Check]:
    both = [m for m in smaller if {LOG, NTK} <= set(m.curves)]
    if len(both) < 2:
        return []
    small, large = both[0], both[-1]
    base = base_label(small.checkpoint.base)
    words = f"for the base {base} than for {base_label(large.checkpoint.base)}"
    checks = []
    for n in small.judged:
        log, ntk = (
            _gain(laboratory, small, method, n) - _gain(laboratory, large, method, n)
            for method in (LOG, NTK)
        )
        estimate = laboratory.sample.estimate
        checks += [
            above_zero(f"log scale takes off more {words}", f"{n}", estimate(log)),
            above_zero(f"dynamic NTK takes off less {words}", f"{n}", estimate(-ntk)),
            above_zero(
                f"dynamic NTK does harm to the base {base}",
                f"{n}",
                small.against[NTK, n].difference,
            ),
        ]
    return checks


def _gain(laboratory: Laboratory, one: Measured, method: str, length: int) -> Floats:
    both = tunings.pair(laboratory, one.checkpoint, method)
    assert both is not None
    under, trained = (cumulative_nll(curve, laboratory.sample, length) for curve in both)
    return trained - under


def _larger_bases(laboratory: Laboratory, larger: Sequence[Measured]) -> list[Check]:
    checks = []
    for m in larger:
        for n in m.judged:
            at = f"{m.checkpoint.tuning} at {n}"
            if (NTK, n) in m.against:
                difference = m.against[NTK, n].difference
                checks.append(below_zero("dynamic NTK helps a larger base", at, difference))
            against_wrong = _between(laboratory, m, NTK, NTK + WRONG, n)
            if against_wrong is not None:
                statement = "dynamic NTK is better with T_extra than with T_train"
                checks.append(below_zero(statement, at, against_wrong.difference))
    return checks


def _controls(found: Sequence[Measured], train_length: int) -> list[Check]:
    return [
        within(
            "dynamic NTK changes nothing within T_train",
            m.checkpoint.tuning,
            m.against[NTK, train_length].difference,
            -NOTHING,
            NOTHING,
            control=True,
        )
        for m in found
        if (NTK, train_length) in m.against
    ]


def _methods(found: Sequence[Measured], length: int) -> str:
    methods = [m for m in METHODS if any((m, length) in one.against for one in found)]
    rows = [
        [one.checkpoint.name, perplexity(one.against[AS_TRAINED, length].nll.value)]
        + [_cell(one.against.get((method, length))) for method in methods]
        for one in found
    ]
    return table(
        f"Cumulative perplexity at {length} under each method, and the difference to the same "
        "checkpoint as trained in nats a token, ± half its interval",
        ["checkpoint", AS_TRAINED, *methods],
        rows,
    )


def _cell(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    nats = difference.difference
    half = (nats.high - nats.low) / 2
    return f"{perplexity(difference.nll.value)} ({nats.value:+.2f} ± {half:.2f})"


def _sequence_table(sequence: Mapping[tuple[str, int], Difference], lengths: Sequence[int]) -> str:
    words = (
        "Dynamic NTK per query (Eq. 18 as printed): perplexity, and the difference to one α for "
        "the whole sequence (no claim of the paper's; below zero per query is better)"
    )
    if not sequence:
        return f"{words}:\n\nnot measured."
    rows = [
        [name] + [_cell(sequence.get((name, length))) for length in lengths]
        for name in dict.fromkeys(name for name, _ in sequence)
    ]
    return table(words, ["checkpoint", *map(str, lengths)], rows)


def _draw(found: Groups) -> Figure:
    """Draw cumulative perplexity against length, a row a group, `PANELS` checkpoints of each."""
    shown = []
    for group in filter(None, (found.own, found.smaller, found.larger)):
        # The first and the last of a group are among those shown.
        places = np.linspace(0, len(group) - 1, min(PANELS, len(group))).round().astype(int)
        shown.append([group[place] for place in places])
    return draw_panels(
        [[_panel(one) for one in row] for row in shown],
        [Scale(label="cumulative perplexity", perplexity=True)] * len(shown),
        label="tokens seen (dotted: $T_{train}$, grey: $T_{extra}$)",
        first=2 * shown[0][0].curves[AS_TRAINED].lengths[0],
    )


def _panel(one: Measured) -> Panel:
    lines = [
        Line(label=method, lengths=c.lengths, values=perplexities(c), look=LOOKS[method])
        for method, c in one.curves.items()
    ]
    checkpoint = one.checkpoint
    return Panel(
        title=checkpoint.name,
        lines=lines,
        train_length=checkpoint.train_length,
        bound=checkpoint.bound,
    )
