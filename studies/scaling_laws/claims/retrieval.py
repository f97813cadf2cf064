"""arXiv 2405.14591: does a base under its bound keep perplexity and lose retrieval?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from rope_eval.report.figures.retrieval import Reach, draw_reaches
from studies.scaling_laws.claim import Check, Finding, Picture, length, percent, table, tokens
from studies.scaling_laws.contexts import DEFINITION
from studies.scaling_laws.names import AS_TRAINED, IN_RETRIEVAL
from studies.scaling_laws.retrieved import ENOUGH, Kept, everything
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.scores import MARGIN, excess_curve

MOST_EXCESS = 2.5
"""Nats at which the figure's axis of the loss ends, however far it explodes."""


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = everything(laboratory)
    if not found:
        raise DataError("no retrieval probes of checkpoints as trained")
    under = [k for k in found if k.loses is not None]
    losing = sum(bool(k.loses) for k in under)
    past = sum(k.retrieves_past is not None for k in found)
    samples = sorted({len(k.retrieval.right) for k in found})
    depths = sorted({d for one in laboratory.retrieval.values() for d in one.depths})
    return Finding(
        name="retrieval",
        title="Perplexity kept, retrieval lost",
        source="arXiv 2405.14591",
        claim="A base under the lower bound for a length can keep a low perplexity there and "
        "still lose retrieval: B(m) = Σ cos(m·β^(−2i/d)) turns negative.",
        basis=f"{' or '.join(map(str, samples))} samples at each length, in {laboratory.sets} sets "
        "of samples, whose filler is drawn from all of the text and may overlap; one seed; "
        f"perplexity of {laboratory.documents} documents. The needle stands first (depth "
        f"{depths[0]:g}), so the length is its distance. Wilson's intervals for accuracies, "
        "bootstrap over samples or documents for lengths.",
        numbers={
            "checkpoints": [k.to_dict() for k in found],
            "under_their_bound": len(under),
            "lose_retrieval": losing,
            "retrieve_past_their_bound": past,
        },
        headline=f"{losing} of {len(under)} checkpoints keep perplexity and lose retrieval at a "
        f"length past their base's bound; {past} of {len(found)} do retrieve at a length past it",
        checks=tuple(_checks(found)),
        tables=(_lengths(found), _accuracies(found), _under_methods(laboratory)),
        pictures=(
            Picture(
                file="retrieval.png",
                shows="retrieval accuracy and local loss above the in-window one against length, "
                "a column a tuning length",
                draw=partial(_draw_curves, found),
            ),
            Picture(
                file="retrieval-lengths.png",
                shows="for each checkpoint: up to where B(m) is not negative, up to where it "
                "retrieves, and the measured max context",
                draw=partial(_draw_reaches, found),
            ),
        ),
        definitions=(
            DEFINITION,
            "The bound's length of a base is the largest m up to which B is not negative. A base "
            "keeps perplexity up to its measured max context. It loses retrieval where, at a "
            "length past the bound's and within that context, the accuracy's whole interval is "
            f"below {ENOUGH:.0%}, and retrieves past the bound where it is above. It retrieves up "
            "to the length at which, and at all shorter ones, the accuracy is at least "
            f"{ENOUGH:.0%}; one that fails at the shortest has learned no retrieval and is left "
            "out of the count. A guess is right once in a hundred.",
        ),
    )


def _checks(found: Sequence[Kept]) -> list[Check]:
    checks = [
        Check(
            statement=f"{k.checkpoint.name}, past its bound of {k.feasible}, keeps perplexity up "
            f"to {length(k.held.estimate.value, k.held.context.longest)} and loses retrieval",
            holds=k.loses,
        )
        for k in found
        if k.loses is not None
    ]
    for k in found:
        if k.learned and k.feasible is not None and k.retrieval.lengths[-1] > k.feasible:
            checks.append(
                Check(
                    statement=f"{k.checkpoint.name} retrieves at no length past its bound of "
                    f"{k.feasible}",
                    holds=k.retrieves_past is None,
                )
            )
        marks = k.marks(under=False)
        if k.learned and marks and k.checkpoint.tuned:
            checks.append(
                Check(
                    statement=f"control: {k.checkpoint.name} retrieves up to its bound where "
                    f"perplexity is kept ({marks[-1][0]} tokens)",
                    holds=marks[-1][1] >= ENOUGH,
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
                f"{k.retrieves.value:.0f} [{k.retrieves.low:.0f}, {k.retrieves.high:.0f}]",
                " / ".join(f"{x:.0f}" for x in k.retrieves.sets),
                tokens(k.held.estimate, longest),
                loses if k.learned else "retrieval not learned",
                "–" if k.retrieves_past is None else str(k.retrieves_past),
            ]
        )
    headers = ["checkpoint", "base", "B(m) ≥ 0 up to", "retrieves up to", "by set"]
    headers += ["max context", "keeps perplexity, loses retrieval?", "retrieves past bound at"]
    return table("Lengths in tokens (0: retrieves at none)", headers, rows)


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
                retrieves=k.retrieves.value,
                context=k.held.estimate.value,
            )
            for k in found
        ],
        shortest=min(k.retrieval.lengths[0] for k in found),
        longest=max(k.held.context.longest for k in found),
    )
