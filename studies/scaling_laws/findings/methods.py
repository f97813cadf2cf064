"""Fig. 11: log scale, xPos and dynamic NTK, on smaller and larger bases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from rope_eval.errors import DataError
from studies.scaling_laws.finding import Finding, Picture, markdown_table, perplexity
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.findings.comparison import Difference, compare
from studies.scaling_laws.findings.measured_methods import (
    METHODS,
    NTK,
    PER_SEQUENCE,
    Measured,
    groups,
    measured,
)
from studies.scaling_laws.findings.method_claims import NOTABLE, claims
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Laboratory

FACTORS = (8, 32)
PANELS = 3  # of a row of the figure


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import methods as figures

    lengths = laboratory.multiples(*FACTORS)
    found = measured(laboratory, lengths)
    if not found or not lengths:
        raise DataError("no checkpoint under any position method")
    panels = groups(found, laboratory.pretrain_theta, laboratory.train_length)
    longest = lengths[-1]
    sequence = _per_sequence(laboratory, found, lengths)
    checks = claims(laboratory, panels, longest)
    held = sum(check.holds is True for check in checks)
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
                {"checkpoint": name, "length": length, **difference.to_dict()}
                for name, length, difference in sequence
            ],
        },
        headline=f"{held} of {len(checks)} statements hold at {longest} tokens",
        checks=tuple(checks),
        tables=(*(_methods(found, n) for n in lengths), _sequence_table(sequence, lengths)),
        pictures=(
            Picture(
                file="methods.png",
                shows="cumulative perplexity against length under each position method, a panel a "
                "checkpoint: the base of pre-training, smaller bases, larger bases, three of each",
                draw=partial(
                    figures.draw_methods,
                    [
                        [
                            [laboratory.curves[m.checkpoint.name, method] for method in m.methods]
                            for m in _spread_out(row)
                        ]
                        for row in (panels.own, panels.smaller, panels.larger)
                        if row
                    ],
                ),
            ),
        ),
        definitions=(
            "Differences are paired by documents, to the same checkpoint as it was trained, in "
            'nats a token of the cumulative loss; below zero the method helps. "Almost nothing" '
            f"is less than {NOTABLE:.0%} of what extrapolation adds to the loss. Methods refer to "
            'T_extra, "(wrong)" ones to T_train; where the two are equal, there is no wrong one.',
        ),
    )


def _per_sequence(
    laboratory: Laboratory, found: Sequence[Measured], lengths: Sequence[int]
) -> list[tuple[str, int, Difference]]:
    rows = []
    for m in found:
        query = laboratory.curve(m.checkpoint, NTK)
        sequence = laboratory.curve(m.checkpoint, PER_SEQUENCE)
        if query is not None and sequence is not None:
            rows += [
                (m.checkpoint.name, n, compare(laboratory, query, sequence, n))
                for n in lengths
                if n in query.lengths and n in sequence.lengths
            ]
    return rows


def _spread_out(row: Sequence[Measured]) -> list[Measured]:
    """Return at most `PANELS` of a row, the first and the last among them."""
    count = min(PANELS, len(row))
    places = np.linspace(0, len(row) - 1, count).round().astype(int)
    return [row[place] for place in places]


def _methods(found: Sequence[Measured], length: int) -> str:
    methods = [m for m in METHODS if any((m, length) in one.against for one in found)]
    rows = []
    for one in found:
        row = [one.checkpoint.name, perplexity(one.against[AS_TRAINED, length].nll.value)]
        row += [_cell(one.against.get((method, length))) for method in methods]
        rows.append(row)
    return (
        f"Cumulative perplexity at {length} under each method, and the difference to the same "
        "checkpoint as trained in nats a token, ± half its interval:\n\n"
        + markdown_table(["checkpoint", AS_TRAINED, *methods], rows)
    )


def _cell(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    nats = difference.difference
    half = (nats.high - nats.low) / 2
    return f"{perplexity(difference.nll.value)} ({nats.value:+.2f} ± {half:.2f})"


def _sequence_table(sequence: Sequence[tuple[str, int, Difference]], lengths: Sequence[int]) -> str:
    by_place = {(name, length): difference for name, length, difference in sequence}
    rows = [
        [name] + [_cell(by_place.get((name, length))) for length in lengths]
        for name in dict.fromkeys(name for name, _, _ in sequence)
    ]
    return (
        "Dynamic NTK per query (Eq. 18 as printed): perplexity, and the difference to one α for "
        "the whole sequence (no claim of the paper's; below zero per query is better):\n\n"
        + (markdown_table(["checkpoint", *map(str, lengths)], rows) if rows else "not measured.")
    )
