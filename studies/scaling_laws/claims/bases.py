"""Figs. 2 to 4: larger and smaller bases, and whether the base of pre-training is the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures import style
from rope_eval.report.figures.heatmaps import HeatMap, draw_heatmaps
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from studies.scaling_laws import tunings
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    answer,
    basis,
    percent,
    perplexity,
    spread,
    table,
    with_interval,
)
from studies.scaling_laws.runs import JUDGED, Checkpoint, Curve, Laboratory
from studies.scaling_laws.sampling import Estimate, plain
from studies.scaling_laws.scores import accuracies, cumulative_nll, perplexities
from studies.scaling_laws.verdicts import Check, above_zero, below_zero, within

UNHARMED = 0.05
"""Nats a token within T_train that a base may differ by from that of pre-training."""

CRITERION = (
    "the cumulative loss of the base of pre-training is above that of every other; that of a "
    "smaller or larger base is below it; the whole interval of the difference. Control: within "
    f"T_train the two differ by at most {UNHARMED} nats a token, so that no tuning failed."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """The base of pre-training among all bases tuned at T_train, at one length.

    Attributes:
        length: in tokens.
        rank: rank of the base of pre-training by cumulative perplexity, 1 the worst.
        of: number of bases.
        own_base: the base of pre-training.
        worst_base: the worst base.
        rival_base: the worst base other than that of pre-training.
        difference: the base of pre-training minus the rival, nats a token.
        share_of_resamples: how many of the resamples have the base of pre-training as the worst.
        others: by base, it minus that of pre-training, nats a token.
    """

    length: int
    rank: int
    of: int
    own_base: float
    worst_base: float
    rival_base: float
    difference: Estimate
    share_of_resamples: float
    others: dict[float, Estimate]


def worst_base(laboratory: Laboratory, length: int) -> Worst:
    """Compare the base of pre-training with all others tuned at T_train."""
    tuned, own = _tuned(laboratory)
    sample = laboratory.sample
    nll = np.array([cumulative_nll(tunings.trained(laboratory, c), sample, length) for c in tuned])
    others = [i for i in range(len(tuned)) if i != own]
    rival = max(others, key=lambda i: nll[i, 0])
    return Worst(
        length=length,
        rank=1 + int((nll[others, 0] > nll[own, 0]).sum()),
        of=len(tuned),
        own_base=tuned[own].base,
        worst_base=tuned[int(nll[:, 0].argmax())].base,
        rival_base=tuned[rival].base,
        difference=sample.estimate(nll[own] - nll[rival]),
        share_of_resamples=sample.share(nll.argmax(0) == own),
        others={tuned[i].base: sample.estimate(nll[i] - nll[own]) for i in others},
    )


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    tuned, own = _tuned(laboratory)
    results = [worst_base(laboratory, length) for length in laboratory.judged(tuned[own])]
    inside = worst_base(laboratory, laboratory.train_length)
    theta = base_label(laboratory.pretrain_theta)
    curves = [tunings.trained(laboratory, c) for c in tuned]
    yes = [r.length for r in results if r.rank == 1]
    no = [r.length for r in results if r.rank > 1]
    return Finding(
        name="bases",
        title="Larger and smaller bases",
        source="arXiv 2310.05209, §2, Figs. 2, 3 and 4",
        claim=f"Tuned at T_train, both larger and smaller bases extrapolate better; {theta}, the "
        "base of pre-training, is the worst.",
        basis=basis(laboratory, tuned),
        numbers=plain(
            {
                "worst": results,
                "curves": [
                    {
                        "base": c.checkpoint.base,
                        "lengths": c.lengths,
                        "perplexity": perplexities(c),
                        "accuracy": accuracies(c),
                    }
                    for c in curves
                ],
            }
        ),
        headline=f"{theta} is the worst of {len(tuned)} bases at "
        + (f"{', '.join(map(str, yes))} tokens" if yes else "none of the lengths")
        + (f", not at {', '.join(map(str, no))}" if yes and no else ""),
        checks=tuple(_checks(results, inside, theta)),
        criterion=CRITERION,
        tables=(_perplexities(laboratory, curves), _answers(results, theta)),
        pictures=(
            Picture(
                file="bases.png",
                shows="cumulative perplexity and accuracy against length, smaller bases on the "
                "left, larger on the right",
                draw=partial(_draw_curves, curves, laboratory.pretrain_theta),
            ),
            Picture(
                file="heatmap.png",
                shows="heat maps of perplexity and accuracy, base by length",
                draw=partial(_draw_heatmaps, curves, laboratory.pretrain_theta),
            ),
        ),
        definitions=(
            "Perplexity and accuracy are cumulative: sums over all tokens up to a length, of all "
            "documents. Only checkpoints tuned at T_train count.",
        ),
    )


def _tuned(laboratory: Laboratory) -> tuple[tuple[Checkpoint, ...], int]:
    tuned = laboratory.tuned(laboratory.train_length)
    own = [i for i, c in enumerate(tuned) if c.base == laboratory.pretrain_theta]
    if not own or len(tuned) < 2:
        raise DataError(
            f"no checkpoint tuned at {laboratory.train_length} tokens with the base "
            f"{base_label(laboratory.pretrain_theta)}, or none with another"
        )
    return tuned, own[0]


def _checks(results: list[Worst], inside: Worst, theta: str) -> list[Check]:
    own = inside.own_base
    checks = [
        above_zero(f"{theta} is the worst of all bases", f"{r.length}", r.difference)
        for r in results
    ]
    for side in ("smaller", "larger"):
        checks += [
            below_zero(
                f"a {side} base is better than {theta}", f"{base_label(base)} at {r.length}", one
            )
            for r in results
            for base, one in r.others.items()
            if (base < own) == (side == "smaller")
        ]
    checks += [
        within(
            f"within T_train a base is as good as {theta}",
            base_label(base),
            one,
            -UNHARMED,
            UNHARMED,
            control=True,
        )
        for base, one in inside.others.items()
    ]
    return checks


def _perplexities(laboratory: Laboratory, curves: Sequence[Curve]) -> str:
    lengths = laboratory.multiples(1, *JUDGED)
    rows = []
    for curve in curves:
        ppl, accuracy = perplexities(curve), accuracies(curve)
        at = [curve.index(length) for length in lengths]
        rows.append(
            [base_label(curve.checkpoint.base), f"{curve.checkpoint.bound:.0f}"]
            + [f"{perplexity(np.log(ppl[i]))} ({percent(accuracy[i])})" for i in at]
        )
    return table(
        f"Cumulative perplexity (accuracy) of the bases tuned at {laboratory.train_length}, by "
        "length",
        ["base", "T_extra", *map(str, lengths)],
        rows,
    )


def _answers(results: list[Worst], theta: str) -> str:
    rows = [
        [
            str(r.length),
            answer(r.difference),
            f"{r.rank} of {r.of}",
            base_label(r.worst_base),
            base_label(r.rival_base),
            with_interval(r.difference, signed=True),
            spread(r.difference, signed=True),
            percent(r.share_of_resamples),
        ]
        for r in results
    ]
    headers = ["length", "the worst?", "rank", "worst base", "worst other", "nats more"]
    return table(
        f"Is {theta} the worst? Its rank from the worst, and how many nats a token more it has "
        "than the worst of the other bases (last: the part of the resamples in which it is the "
        "worst)",
        [*headers, "by set", "resamples"],
        rows,
    )


def _draw_curves(curves: Sequence[Curve], pretrain_theta: float) -> Figure:
    """Draw smaller and larger bases beside each other, both against that of pre-training."""
    sides = (
        ("smaller bases", [c for c in curves if c.checkpoint.base <= pretrain_theta][::-1]),
        ("larger bases", [c for c in curves if c.checkpoint.base >= pretrain_theta]),
    )
    train = curves[0].checkpoint.train_length
    rows = []
    for score in (perplexities, accuracies):
        row = []
        for title, side in sides:
            colours = [style.BLACK, *style.shades(len(side) - 1)]
            lines = []
            for curve, colour in zip(side, colours, strict=True):
                own = curve.checkpoint.base == pretrain_theta
                look: dict[str, Any] = {"color": colour, "lw": 2 if own else 1.5, "zorder": 3 + own}
                name = base_label(curve.checkpoint.base)
                lines.append(
                    Line(label=name, lengths=curve.lengths, values=score(curve), look=look)
                )
            above = f"{title}, tuned at {train}" if score is perplexities else ""
            row.append(Panel(lines=lines, title=above, train_length=train))
        rows.append(row)
    return draw_panels(
        rows,
        [Scale(label="cumulative perplexity", perplexity=True), Scale(label="cumulative accuracy")],
        label="tokens seen (dotted: $T_{train}$)",
        height=3.3,
        legend="columns",
        legend_title="base",
    )


def _draw_heatmaps(curves: Sequence[Curve], pretrain_theta: float) -> Figure:
    """Draw base by length, at the lengths that all curves share."""
    lengths = sorted(set.intersection(*(set(c.lengths) for c in curves)))
    at = [[c.index(length) for length in lengths] for c in curves]
    ppl, accuracy = (
        np.array([score(c)[i] for c, i in zip(curves, at, strict=True)])
        for score in (perplexities, accuracies)
    )
    return draw_heatmaps(
        lengths,
        [base_label(c.checkpoint.base) for c in curves],
        [
            HeatMap(label="cumulative perplexity", values=ppl, perplexity=True),
            HeatMap(label="cumulative accuracy", values=accuracy),
        ],
        label=f"base (bold: of pre-training), tuned at {curves[0].checkpoint.tune_length}",
        bounds=[c.checkpoint.bound for c in curves],
        bold=[base_label(pretrain_theta)],
    )
