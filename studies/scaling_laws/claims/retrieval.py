"""arXiv 2405.14591: does a base under its bound keep perplexity and lose retrieval?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rope_eval import theory
from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from rope_eval.report.figures.retrieval import Reach, draw_reaches
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    percent,
    spread,
    table,
    tokens,
    with_interval,
)
from studies.scaling_laws.contexts import DEFINITION
from studies.scaling_laws.names import AS_TRAINED, IN_RETRIEVAL
from studies.scaling_laws.ranks import spearman
from studies.scaling_laws.retrieved import ENOUGH, Kept, everything
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.sampling import Estimate, plain
from studies.scaling_laws.scores import MARGIN, excess_curve
from studies.scaling_laws.verdicts import Check, above_zero

FARTHEST = 1 << 17
"""Tokens up to which B is looked at for a length to rank by."""

CRITERION = (
    "a checkpoint that finds needles beyond doubt at some measured distance within T_tune loses "
    "retrieval where, at a measured distance past the bound and within its max context, the "
    f"accuracy's whole interval is below {ENOUGH:.0%}; it finds needles past the bound where the "
    "interval is above. Rank correlations with their whole interval. Controls: it finds needles at "
    "some distance within T_tune at all, and at the longest measured one up to its bound and "
    "within its max context; one that fails the latter is no point of the claim."
)

MOST_EXCESS = 2.5
"""Nats at which the figure's axis of the loss ends, however far it explodes."""


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = everything(laboratory)
    if not found:
        raise DataError("no retrieval probes of checkpoints as trained")
    under = able(found)
    losing = sum(bool(k.loses) for k in under)
    past = sum(k.finds_past is not None for k in found)
    correlations = rank_correlations(laboratory, found)
    samples = sorted({len(k.retrieval.right) for k in found})
    depths = sorted({d for one in laboratory.retrieval.values() for d in one.depths})
    return Finding(
        name="retrieval",
        title="Perplexity kept, retrieval lost",
        source="arXiv 2405.14591",
        claim="A base under the lower bound for a length can keep a low perplexity there and "
        "still lose retrieval: B(m) = Σ cos(m·β^(−2i/d)) turns negative.",
        basis=f"{' or '.join(map(str, samples))} samples at each length, in {laboratory.sets} sets "
        "of samples, whose filler is drawn from all of the text and may overlap; every seed of a "
        f"tuning by itself; perplexity of {laboratory.documents} documents. The needle stands "
        f"first (depth {depths[0]:g}), so the length is its distance. Wilson's intervals for "
        "accuracies, bootstrap over samples or documents for lengths. Accuracies are of "
        f"{len(found[0].retrieval.lengths)} distances, half an octave apart: what lies between "
        "them is another finding, where it was measured.",
        numbers={
            "checkpoints": [k.to_dict() for k in found],
            "under_their_bound": len(under),
            "lose_retrieval": losing,
            "find_past_their_bound": past,
            "rank_correlations": plain({str(c.tune_length): c for c in correlations}),
        },
        headline=f"{losing} of {len(under)} runs keep perplexity and lose retrieval at a measured "
        f"distance past their base's bound; {past} of {len(found)} find needles at one past it",
        checks=(*_checks(found), *_ranked(correlations)),
        criterion=CRITERION,
        tables=(
            _lengths(found),
            _correlations(correlations),
            _accuracies(found),
            _under_methods(laboratory),
        ),
        pictures=(
            Picture(
                file="retrieval.png",
                shows="retrieval accuracy and local loss above the in-window one against length, "
                "a column a tuning length",
                draw=partial(_draw_curves, found),
            ),
            Picture(
                file="retrieval-lengths.png",
                shows="for each checkpoint: up to where B(m) is not negative, how far it finds "
                "needles, and the measured max context",
                draw=partial(_draw_reaches, found),
            ),
        ),
        definitions=(
            DEFINITION,
            "The bound's length of a base is the largest m up to which B is not negative. A base "
            "keeps perplexity up to its measured max context. It finds needles as far as the "
            f"longest measured distance with an accuracy of at least {ENOUGH:.0%}; gaps are "
            "shorter measured distances with less. A guess is right once in a hundred.",
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlations:
    """How checkpoints are ordered, at one T_tune: Spearman's ρ.

    Attributes:
        tune_length: T_tune.
        runs: number of checkpoints.
        b_finds: of B's length and the farthest distance found.
        b_context: of B's length and the measured max context.
        bound_finds: of T_extra and the farthest distance found.
        bound_context: of T_extra and the measured max context.
        b_finds_more: ``b_finds`` minus ``b_context``.
    """

    tune_length: int
    runs: int
    b_finds: Estimate
    b_context: Estimate
    bound_finds: Estimate
    bound_context: Estimate
    b_finds_more: Estimate


def rank_correlations(laboratory: Laboratory, found: Sequence[Kept]) -> list[Correlations]:
    """Return the rank correlations at each T_tune that has more than two checkpoints."""
    correlations = []
    for tune in laboratory.tune_lengths:
        some = [k for k in found if k.checkpoint.tuned and k.checkpoint.tune_length == tune]
        if len({k.checkpoint.base for k in some}) < 3:
            continue
        finds = np.stack([k.finds_rows for k in some], axis=1)
        contexts = np.stack([k.held.context.values for k in some], axis=1)
        b = np.array([_length_of_b(k.checkpoint.base, k.checkpoint.head_dim) for k in some])
        bound = np.array([k.checkpoint.bound for k in some])
        estimate = laboratory.sample.estimate
        b_finds, b_context = spearman(b, finds), spearman(b, contexts)
        correlations.append(
            Correlations(
                tune_length=tune,
                runs=len(some),
                b_finds=estimate(b_finds),
                b_context=estimate(b_context),
                bound_finds=estimate(spearman(bound, finds)),
                bound_context=estimate(spearman(bound, contexts)),
                b_finds_more=estimate(b_finds - b_context),
            )
        )
    return correlations


def _length_of_b(base: float, head_dim: int) -> float:
    first = theory.first_negative(base, FARTHEST, head_dim)
    return FARTHEST if first is None else first - 1


def _ranked(correlations: Sequence[Correlations]) -> list[Check]:
    checks = [
        above_zero("a base with a longer B finds needles further", f"T_tune {c.tune_length}", one)
        for c in correlations
        for one in (c.b_finds,)
    ]
    return checks + [
        above_zero(
            "B orders retrieval better than perplexity", f"T_tune {c.tune_length}", c.b_finds_more
        )
        for c in correlations
    ]


def _correlations(correlations: Sequence[Correlations]) -> str:
    rows = [
        [
            str(c.tune_length),
            str(c.runs),
            *(with_interval(one, 2) for one in (c.b_finds, c.b_context)),
            spread(c.b_finds_more, 2, signed=True),
            *(with_interval(one, 2) for one in (c.bound_finds, c.bound_context)),
        ]
        for c in correlations
    ]
    headers = ["T_tune", "runs", "B, finds", "B, max context", "the first more, by set"]
    return table(
        "Spearman's rank correlations over the runs tuned at a length: of B's length, and of "
        "T_extra, with how far needles are found and with the max context. B's length grows with "
        "the base in every grid here, so that it orders bases as the base itself does",
        [*headers, "T_extra, finds", "T_extra, max context"],
        rows,
    )


def able(found: Sequence[Kept]) -> list[Kept]:
    """Return those that can lose retrieval past their bound: their control holds, if they have one.

    One that finds no needles at the longest distance up to its bound has lost them to something
    else, such as the length that it was tuned at.
    """
    return [
        k for k in found if k.loses is not None and (k.control is None or k.control[1] >= ENOUGH)
    ]


def _checks(found: Sequence[Kept]) -> list[Check]:
    checks = [
        Check(
            statement="perplexity is kept and retrieval lost past the bound",
            at=k.checkpoint.name,
            holds=k.loses,
        )
        for k in able(found)
    ]
    for k in found:
        name = k.checkpoint.name
        if k.learned and k.feasible is not None and k.retrieval.lengths[-1] > k.feasible:
            statement = "no needle is found past the bound"
            checks.append(Check(statement=statement, at=name, holds=k.finds_past is None))
    for k in found:
        name = k.checkpoint.name
        if k.checkpoint.tuned:
            checks.append(
                Check(
                    statement="needles are found at some distance within T_tune",
                    at=name,
                    holds=k.learned,
                    control=True,
                )
            )
        if k.control is not None and k.checkpoint.tuned:
            within_bound, mark = k.control
            checks.append(
                Check(
                    statement="needles are found up to the bound where perplexity is kept",
                    at=f"{name} at {within_bound}",
                    holds=mark >= ENOUGH,
                    control=True,
                )
            )
    return checks


def _lengths(found: Sequence[Kept]) -> str:
    rows = []
    for k in found:
        longest = k.held.context.longest
        loses = {True: "yes", False: "no", None: "–"}[k.loses]
        rows.append(
            [
                k.checkpoint.name,
                base_label(k.checkpoint.base),
                f"> {longest}" if k.feasible is None else str(k.feasible),
                f"{k.finds.value:.0f} [{k.finds.low:.0f}, {k.finds.high:.0f}]",
                ", ".join(map(str, k.gaps)) or "none",
                tokens(k.held.estimate, longest),
                loses if k.learned else "finds none within T_tune",
                "–" if k.finds_past is None else str(k.finds_past),
            ]
        )
    headers = ["checkpoint", "base", "B(m) ≥ 0 up to", "finds as far as", "gaps"]
    headers += ["max context", "keeps perplexity, loses retrieval?", "finds past bound at"]
    return table(
        "Distances in tokens (0: found at none; gaps: shorter measured distances at which needles "
        "are not found)",
        headers,
        rows,
    )


def _accuracies(found: Sequence[Kept]) -> str:
    lengths = sorted({n for k in found for n in k.retrieval.lengths})
    rows = []
    for k in found:
        cells = {
            n: f"{percent(mark)} [{100 * low:.0f}, {100 * high:.0f}]"
            for n, mark, (low, high) in zip(
                k.retrieval.lengths, k.accuracy, k.intervals, strict=True
            )
        }
        rows.append([k.checkpoint.name, *(cells.get(n, "–") for n in lengths)])
    headers = ["checkpoint", *map(str, lengths)]
    return table("Retrieval accuracy by length, the needle first", headers, rows)


def _under_methods(laboratory: Laboratory) -> str:
    """Return the accuracies of what was also probed under methods of inference."""
    probed = {name for name, method in laboratory.retrieval if method in IN_RETRIEVAL}
    rows_of = [c.name for c in laboratory.checkpoints if c.name in probed]
    some = {
        (name, method): one
        for (name, method), one in laboratory.retrieval.items()
        if name in rows_of and method in (AS_TRAINED, *IN_RETRIEVAL)
    }
    if not some:
        return "Under methods of inference: not measured."
    lengths = sorted({n for one in some.values() for n in one.lengths})
    rows = []
    for name, method in sorted(some, key=lambda key: (rows_of.index(key[0]), key[1])):
        one = some[name, method]
        marks = dict(zip(one.lengths, one.right[:, :, 0].mean(0), strict=True))
        rows.append([name, method, *(percent(marks[n]) if n in marks else "–" for n in lengths)])
    return table(
        "The same under methods of inference (T_ref = T_extra)",
        ["checkpoint", "method", *map(str, lengths)],
        rows,
        left=2,
    )


def _draw_curves(found: Sequence[Kept]) -> Figure:
    """Draw accuracy (above) and local loss above the in-window one, a column a T_tune."""
    shown = [k for k in found if k.checkpoint.tuned] or list(found)
    shown = [k for k in shown if k.checkpoint.name == k.checkpoint.tuning] or shown
    top, bottom = [], []
    for tune in sorted({k.checkpoint.tune_length for k in shown}):
        some = [k for k in shown if k.checkpoint.tune_length == tune]
        accuracies, losses = [], []
        for k, colour in zip(some, style.shades(len(some)), strict=True):
            look: dict[str, Any] = {"color": colour, "lw": 1.6}
            name = base_label(k.checkpoint.base)
            accuracies.append(
                Line(
                    label=name,
                    lengths=k.retrieval.lengths,
                    values=k.accuracy,
                    band=k.intervals,
                    look={**look, "marker": "o", "ms": 3.5},
                )
            )
            lengths, nll = excess_curve(*k.curves)
            losses.append(Line(label=name, lengths=lengths, values=nll, look=look))
        top.append(Panel(title=f"tuned at {tune}", lines=accuracies, train_length=tune))
        bottom.append(Panel(lines=losses, train_length=tune))
    return draw_panels(
        [top, bottom],
        [
            Scale(label="retrieval accuracy", limits=(-0.03, 1.03), level=ENOUGH),
            Scale(
                label="local loss above the\nin-window one, nats",
                limits=(-0.4, MOST_EXCESS),
                level=MARGIN,
            ),
        ],
        label="tokens (dotted: $T_{tune}$)",
        height=2.9,
        legend="columns",
        legend_title="base",
    )


def _draw_reaches(found: Sequence[Kept]) -> Figure:
    return draw_reaches(
        [
            Reach(
                name=k.checkpoint.name,
                feasible=k.feasible,
                retrieves=k.finds.value,
                context=k.held.estimate.value,
            )
            for k in found
        ],
        shortest=min(k.retrieval.lengths[0] for k in found),
        longest=max(k.held.context.longest for k in found),
    )
