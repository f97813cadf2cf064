"""Methods of other papers, without tuning: which extend perplexity, and which retrieval?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from rope_eval.rope import methods
from studies.scaling_laws.claim import (
    Check,
    Finding,
    Picture,
    above_zero,
    basis,
    below_zero,
    percent,
    perplexity,
    table,
    tokens,
)
from studies.scaling_laws.claims.retrieval import ENOUGH, reached
from studies.scaling_laws.extensions import FACTOR, extensions
from studies.scaling_laws.names import AS_TRAINED, METHODS
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory, Retrieval
from studies.scaling_laws.sampling import Estimate, Floats, Sample, plain
from studies.scaling_laws.scores import (
    MARGIN,
    Difference,
    compare,
    cumulative_nll,
    perplexities,
)

FACTORS = (1, FACTOR, 32)
"""Lengths of the table, in T_train: where nothing is extended, the one asked for, and far past."""

Column = Literal["frequencies", "by length, fewer pairs", "position maps"]
NOWHERE = "nowhere"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reach:
    """Up to which length something holds, in tokens, 0 where nowhere.

    Attributes:
        value: with its interval.
        further: how much further than as trained, paired.
        longest: the longest length measured.
    """

    value: Estimate
    further: Estimate
    longest: int

    def text(self) -> str:
        """Return the length for a table."""
        return tokens(self.value, self.longest) if self.value.value else NOWHERE

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**plain(self.value), "further": plain(self.further), "longest": self.longest}


@dataclass(frozen=True, kw_only=True, eq=False)
class Extended:
    """A checkpoint under a method.

    Attributes:
        curve: its losses.
        retrieval: its marks, or None.
        asked: whether the method is one of `extensions`; the others stand beside them.
        losses: by length: cumulative, and against the checkpoint as trained.
        keeps: up to where perplexity holds.
        finds: up to where needles are found, or None.
    """

    curve: Curve
    retrieval: Retrieval | None
    asked: bool
    losses: Mapping[int, Difference]
    keeps: Reach
    finds: Reach | None

    @property
    def checkpoint(self) -> Checkpoint:
        """What was run."""
        return self.curve.checkpoint

    @property
    def method(self) -> str:
        """What it was run under."""
        return self.curve.method

    @property
    def column(self) -> Column:
        """The kind of method, a column of the figure."""
        rope = self.curve.rope
        active = methods.active(rope)
        if any(method.maps_positions for method in active):
            return "position maps"
        fixed = any(m.frequencies in ("scale", "set") for m in active)
        return "frequencies" if fixed and self.curve.one_pass else "by length, fewer pairs"

    def accuracy(self) -> Floats:
        """Return the part of the needles found at each length, the needle first, [L]."""
        assert self.retrieval is not None
        marks: Floats = self.retrieval.right[:, :, 0].mean(0)
        return marks

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; of the setting what the method adds to the checkpoint's."""
        trained = self.checkpoint.rope.to_dict()
        rope = self.curve.rope.to_dict()
        return {
            "checkpoint": self.checkpoint.name,
            "method": self.method,
            "setting": {name: value for name, value in rope.items() if name not in trained},
            "losses": plain(self.losses),
            "keeps_perplexity_up_to": self.keeps.to_dict(),
            "retrieves_up_to": None if self.finds is None else self.finds.to_dict(),
            "accuracy": None if self.retrieval is None else plain(self.accuracy()),
        }


def kept(curve: Curve, in_window: Curve, sample: Sample) -> Floats:
    """Return the length up to which the cumulative loss is within the margin, [K].

    It counts from T_train on, and is 0 where the loss at T_train is beyond the margin. The margin
    is to what the same tokens cost in windows of T_train, by the model as trained. Cumulative, as
    where the frequencies follow the length a token's loss depends on the length it is read at.
    """
    lengths = [n for n in curve.lengths if n >= curve.checkpoint.train_length]
    longer, in_windows = (
        np.stack([cumulative_nll(one, sample, n) for n in lengths], axis=1)
        for one in (curve, in_window)
    )
    holds = np.cumprod(longer - in_windows <= MARGIN, axis=1)
    return np.asarray((holds * np.array(lengths, dtype=np.float64)).max(1))


def extended(laboratory: Laboratory) -> list[Extended]:
    """Return all checkpoints that were run under `extensions`, and their other methods."""
    names = tuple(
        extensions(
            train_length=laboratory.train_length,
            head_dim=laboratory.head_dim,
            pretrain_theta=laboratory.pretrain_theta,
        )
    )
    return [
        _extended(laboratory, checkpoint, method, asked=method in names)
        for checkpoint in laboratory.checkpoints
        if any(laboratory.curve(checkpoint, name) is not None for name in names)
        for method in (AS_TRAINED, *METHODS, *names)
        if laboratory.curve(checkpoint, method) is not None
    ]


def _extended(
    laboratory: Laboratory, checkpoint: Checkpoint, method: str, *, asked: bool
) -> Extended:
    trained, curve = laboratory.trained(checkpoint), laboratory.curves[checkpoint.name, method]
    in_window, sample = laboratory.in_window(checkpoint), laboratory.sample
    values, before = (kept(one, in_window, sample) for one in (curve, trained))
    keeps = Reach(
        value=sample.estimate(values),
        further=sample.estimate(values - before),
        longest=curve.lengths[-1],
    )
    retrieval = laboratory.retrieval.get((checkpoint.name, method))
    finds = None
    if retrieval is not None:
        probes = Sample(len(retrieval.right), laboratory.sets)
        unchanged = laboratory.retrieval[checkpoint.name, AS_TRAINED]
        values, before = (reached(one, probes) for one in (retrieval, unchanged))
        finds = Reach(
            value=probes.estimate(values),
            further=probes.estimate(values - before),
            longest=retrieval.lengths[-1],
        )
    return Extended(
        curve=curve,
        retrieval=retrieval,
        asked=asked,
        losses={n: compare(laboratory, curve, trained, n) for n in laboratory.multiples(*FACTORS)},
        keeps=keeps,
        finds=finds,
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
        checks=tuple(check for one in asked for check in _checks(one, length)),
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
            "nowhere, if a method costs more than that at T_train already. Needles are found up to "
            "the length at which, and at all shorter ones, the accuracy is at least "
            f"{ENOUGH:.0%}; it retrieves further where that is longer than as trained, over the "
            f"whole interval of the difference. What takes a factor has {FACTOR}; sizes in tokens "
            "have their authors' ratios to T_train (studies/scaling_laws/extensions.py).",
        ),
    )


def _headline(name: str, found: Sequence[Extended], length: int) -> str:
    asked = [one for one in found if one.asked]
    lower = sum(one.losses[length].difference.sign < 0 for one in asked)
    further = sum(one.finds is not None and one.finds.further.sign > 0 for one in asked)
    return (
        f"{name}: {lower} of {len(asked)} lower the loss at {length} tokens, {further} retrieve "
        "further"
    )


def _checks(one: Extended, length: int) -> list[Check]:
    name = one.checkpoint.name
    checks = [
        below_zero(
            f"{one.method} lowers the loss of {name} at {length} tokens",
            one.losses[length].difference,
        )
    ]
    if one.finds is not None:
        checks.append(above_zero(f"{name} retrieves further under {one.method}", one.finds.further))
    return checks


def _reaches(name: str, found: Sequence[Extended]) -> str:
    lengths = sorted(found[0].losses)
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
        "and needles are found",
        ["method", *(f"at {n}" for n in lengths), "keeps perplexity up to", "retrieves up to"],
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
