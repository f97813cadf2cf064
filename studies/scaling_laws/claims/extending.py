"""Methods of other papers, without tuning: which extend perplexity, and which retrieval?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    basis,
    percent,
    perplexity,
    table,
)
from studies.scaling_laws.extended import SHOWN, Column, Extended, extended
from studies.scaling_laws.extensions import FACTOR
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.retrieved import ENOUGH
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.scores import (
    MARGIN,
    Difference,
    perplexities,
)
from studies.scaling_laws.verdicts import Check, above_zero, below_zero

CRITERION = (
    "the cumulative loss is below that of the same checkpoint as trained at every judged length "
    "past T_extra; the farthest distance at which needles are found is longer; each with its whole "
    "interval."
)


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = extended(laboratory)
    asked = [one for one in found if one.asked]
    length = laboratory.train_length * FACTOR
    if not asked or length not in asked[0].losses:
        raise DataError(
            f"no checkpoint under the methods that are to extend a model to {length} tokens"
        )
    checkpoints = list(dict.fromkeys(one.checkpoint for one in found))
    by_name = {c.name: [one for one in found if one.checkpoint == c] for c in checkpoints}
    return Finding(
        name="extending",
        title="Other methods, without tuning",
        source="the methods' own papers: docs/methods.md",
        claim="Each extends a model past T_train. PI, YaRN, LongRoPE, CoPE, Resonance and DroPE "
        "are claimed after a tuning with them, which no model here has had.",
        basis=basis(laboratory, checkpoints)
        + " Of lengths of retrieval, by bootstrap over samples.",
        numbers={
            "factor": FACTOR,
            "train_length": laboratory.train_length,
            "methods": [one.to_dict() for one in found],
        },
        headline="; ".join(_headline(name, rows, length) for name, rows in by_name.items()),
        checks=tuple(
            check
            for method in dict.fromkeys(one.method for one in asked)
            for one in asked
            if one.method == method
            for check in _checks(one)
        ),
        criterion=CRITERION,
        tables=tuple(
            text
            for name, rows in by_name.items()
            for text in (_reaches(name, rows), _found(name, rows))
        ),
        pictures=(
            Picture(
                file="extending.png",
                shows="cumulative perplexity and retrieval accuracy against length under each "
                f"method, on {checkpoints[0].name}, a column a kind of method",
                draw=partial(_draw, by_name[checkpoints[0].name]),
            ),
        ),
        definitions=(
            "Perplexity is kept up to the length to which, from T_train on, the cumulative loss is "
            f"at most {MARGIN} nats a token above what the same tokens cost, by the model as "
            "trained, each with the last T_train / 2 to T_train tokens as its whole context: "
            "nowhere, if a method costs more than that at T_train already. Needles are found as "
            "far as the longest measured distance with an accuracy of at least "
            f"{ENOUGH:.0%}; shorter distances may fail. What takes a factor has "
            f"{FACTOR}; sizes in tokens have their authors' ratios to T_train "
            "(studies/scaling_laws/extensions.py).",
        ),
    )


def _headline(name: str, found: Sequence[Extended], length: int) -> str:
    asked = [one for one in found if one.asked]
    lower = sum(one.losses[length].difference.sign < 0 for one in asked)
    further = sum(one.finds is not None and one.finds.further.sign > 0 for one in asked)
    return (
        f"{name}: {lower} of {len(asked)} lower the loss at {length} tokens, {further} find "
        "needles further"
    )


def _checks(one: Extended) -> list[Check]:
    name = one.checkpoint.name
    checks = [
        below_zero("lowers the loss", f"{name} at {n}", one.losses[n].difference)
        for n in one.judged
    ]
    if one.finds is not None:
        checks.append(above_zero("finds needles further", name, one.finds.further))
    return [replace(check, subject=one.method) for check in checks]


def _reaches(name: str, found: Sequence[Extended]) -> str:
    train = found[0].checkpoint.train_length
    lengths = [n for n in sorted(found[0].losses) if n // train in SHOWN]
    rows = [
        [
            one.method,
            *(_cell(one.losses[n]) for n in lengths),
            one.keeps.text(),
            "–" if one.finds is None else one.finds.text(),
        ]
        for one in found
    ]
    return table(
        f"{name}: cumulative perplexity at three lengths, and the difference to the checkpoint as "
        "trained in nats a token, ± half its interval; up to how many tokens perplexity is kept, "
        "and how far needles are found",
        ["method", *(f"at {n}" for n in lengths), "keeps perplexity up to", "finds as far as"],
        rows,
    )


def _cell(one: Difference) -> str:
    half = (one.difference.high - one.difference.low) / 2
    return f"{perplexity(one.nll.value)} ({one.difference.value:+.2f} ± {half:.2f})"


def _found(name: str, found: Sequence[Extended]) -> str:
    lengths = next((one.retrieval.lengths for one in found if one.retrieval is not None), ())
    rows = [
        [one.method, *map(percent, one.accuracy())] for one in found if one.retrieval is not None
    ]
    return table(
        f"{name}: needles found by length, the needle first", ["method", *map(str, lengths)], rows
    )


def _draw(found: Sequence[Extended]) -> Figure:
    """Draw perplexity (above) and retrieval (below), a column a kind of method."""
    columns: tuple[Column, ...] = ("frequencies", "by length, fewer pairs", "position maps")
    trained = next(one for one in found if one.method == AS_TRAINED)
    top, bottom = [], []
    for column in columns:
        shown = [one for one in found if one.asked and one.column == column]
        looks = [{"color": style.BLACK, "lw": 2.2}, *_looks(len(shown))]
        curves, marks = [], []
        for one, look in zip((trained, *shown), looks, strict=True):
            curves.append(
                Line(
                    label=one.method,
                    lengths=one.curve.lengths,
                    values=perplexities(one.curve),
                    look=look,
                )
            )
            if one.retrieval is not None:
                marks.append(
                    Line(
                        label=one.method,
                        lengths=one.retrieval.lengths,
                        values=one.accuracy(),
                        look={**look, "marker": "o", "ms": 3},
                    )
                )
        train = trained.checkpoint.train_length
        top.append(Panel(title=column, lines=curves, train_length=train))
        bottom.append(Panel(lines=marks, train_length=train))
    return draw_panels(
        [top, bottom],
        [
            Scale(label="cumulative perplexity", perplexity=True),
            Scale(label="retrieval accuracy", limits=(-0.03, 1.03), level=ENOUGH),
        ],
        label="tokens (dotted: $T_{train}$)",
        first=2 * trained.curve.lengths[0],
        height=2.9,
        legend="columns",
        legend_columns=2,
    )


def _looks(count: int) -> list[dict[str, Any]]:
    """Return lines that are told apart by colour, and past the colours by dashes."""
    return [
        {
            "color": style.COLOURS[i % len(style.COLOURS)],
            "lw": 1.5,
            "ls": "-" if i < len(style.COLOURS) else (0, (3, 1.5)),
        }
        for i in range(count)
    ]
