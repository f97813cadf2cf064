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
from rope_eval.results.stats import Interval, wilson
from studies.scaling_laws.claim import Check, Finding, Picture, length, percent, table, tokens
from studies.scaling_laws.contexts import DEFINITION, Held, held
from studies.scaling_laws.names import AS_TRAINED, IN_RETRIEVAL
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory, Retrieval
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.scores import MARGIN, excess_curve

ENOUGH = 0.5
"""Accuracy from which a length counts as retrieved at."""

MOST_EXCESS = 2.5
"""Nats at which the figure's axis of the loss ends, however far it explodes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a checkpoint keeps, in tokens, and what the base's bound says.

    Attributes:
        retrieval: the marks.
        curves: loss over whole documents, and of the same tokens in windows of T_tune.
        accuracy: at each length, over samples, of the needle that stands first: its distance from
            the question is the length.
        intervals: Wilson's, of each accuracy, over samples.
        answer_nll: nats of the whole answer, mean at each length, of the same.
        feasible: up to which distance B(m) ≥ 0; None where it is beyond the longest length.
        retrieves: the length up to which every accuracy is at least `ENOUGH`; 0 where that of the
            shortest is not.
        held: the measured max context.
    """

    retrieval: Retrieval
    curves: tuple[Curve, Curve]
    accuracy: tuple[float, ...]
    intervals: tuple[Interval, ...]
    answer_nll: tuple[float, ...]
    feasible: int | None
    retrieves: Estimate
    held: Held

    @property
    def checkpoint(self) -> Checkpoint:
        """What was measured."""
        return self.retrieval.checkpoint

    @property
    def learned(self) -> bool:
        """Whether it retrieves at the shortest length: elsewhere there is nothing to lose."""
        return self.accuracy[0] >= ENOUGH

    def marks(self, *, under: bool) -> list[tuple[int, float, Interval]]:
        """Return (length, accuracy, interval) where perplexity is kept.

        Args:
            under: at lengths that the base is under the bound of; else at those it is not.
        """
        return [
            (n, mark, interval)
            for n, mark, interval in zip(
                self.retrieval.lengths, self.accuracy, self.intervals, strict=True
            )
            if n <= self.held.estimate.value
            and (self.feasible is not None and n > self.feasible) == under
        ]

    @property
    def loses(self) -> bool | None:
        """Whether retrieval is lost at a length past the bound where perplexity is kept.

        None where no such length was measured, or retrieval was never learned.
        """
        marks = self.marks(under=True)
        if not self.learned or not marks:
            return None
        return any(interval[1] < ENOUGH for _, _, interval in marks)

    @property
    def retrieves_past(self) -> int | None:
        """Longest length past the base's bound that is retrieved at beyond doubt, or None."""
        past = [
            n
            for n, interval in zip(self.retrieval.lengths, self.intervals, strict=True)
            if self.feasible is not None
            and self.feasible < n <= self.retrieves.value
            and interval[0] > ENOUGH
        ]
        return max(past, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "checkpoint": self.checkpoint.name,
            "base": self.checkpoint.base,
            "tune_length": self.checkpoint.tune_length,
            "samples": len(self.retrieval.right),
            "depth": self.retrieval.depths[0],
            "lengths": list(self.retrieval.lengths),
            "accuracy": list(self.accuracy),
            "wilson": plain(self.intervals),
            "answer_nll": list(self.answer_nll),
            "feasible_length": self.feasible,
            "retrieves_up_to": plain(self.retrieves),
            "learned": self.learned,
            "retrieves_past_its_bound": self.retrieves_past,
            "max_context": self.held.to_dict(),
            "keeps_perplexity_and_loses_retrieval": self.loses,
        }


def reached(retrieval: Retrieval, sample: Sample) -> Floats:
    """Return the length up to which every accuracy is at least `ENOUGH`, the needle first, [K].

    0 where that of the shortest is not.
    """
    marks = sample.weights @ retrieval.right[:, :, 0] / sample.totals  # [K, L]
    holds = np.cumprod(marks >= ENOUGH, axis=1)
    return np.asarray((holds * np.array(retrieval.lengths, dtype=np.float64)).max(1))


def kept(laboratory: Laboratory, retrieval: Retrieval) -> Kept:
    """Work out what a checkpoint keeps."""
    sample = Sample(len(retrieval.right), laboratory.sets)
    right = retrieval.right[:, :, 0]
    marks = right.mean(0)
    checkpoint = retrieval.checkpoint
    curve = laboratory.trained(checkpoint)
    first = theory.first_negative(checkpoint.base, curve.lengths[-1], checkpoint.head_dim)
    return Kept(
        retrieval=retrieval,
        curves=(curve, laboratory.in_window(checkpoint)),
        accuracy=tuple(float(mark) for mark in marks),
        intervals=tuple(wilson(float(mark), len(right)) for mark in marks),
        answer_nll=tuple(float(x) for x in retrieval.nll[:, :, 0].mean(0)),
        feasible=None if first is None else first - 1,
        retrieves=sample.estimate(reached(retrieval, sample)),
        held=held(laboratory, checkpoint),
    )


def everything(laboratory: Laboratory) -> list[Kept]:
    """Return all checkpoints that were probed as trained, one seed each, by T_tune and base."""
    return [
        kept(laboratory, laboratory.retrieval[c.name, AS_TRAINED])
        for c in laboratory.checkpoints
        if (c.name, AS_TRAINED) in laboratory.retrieval
        and not c.dropped
        and c == laboratory.seeds_of(c)[0]
    ]


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
