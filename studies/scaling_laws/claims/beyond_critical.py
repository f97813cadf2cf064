"""§3.4, Fig. 8b: clipping and dropping the dimensions beyond the critical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from rope_eval.errors import DataError
from rope_eval.local_loss import WINDOW
from rope_eval.report.figures import style
from rope_eval.report.figures.panels import Line, Panel, Scale, draw_panels
from studies.scaling_laws import scores, tunings
from studies.scaling_laws.claim import (
    Finding,
    Picture,
    basis,
    perplexity,
    spread,
    table,
    with_interval,
)
from studies.scaling_laws.names import AS_TRAINED
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory
from studies.scaling_laws.sampling import Estimate, plain
from studies.scaling_laws.verdicts import Check, below_zero, statements

CRITERION = (
    "the cumulative loss is below that of the same base as trained, with the whole interval of the "
    "difference, at every judged length past T_extra."
)
CLIP, DROP, TRAINED_DROP = "clip", "drop", "trained with drop"
COLOURS = {
    AS_TRAINED: style.BLACK,
    CLIP: style.BLUE,
    DROP: style.ORANGE,
    TRAINED_DROP: style.GREEN,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A checkpoint as trained, clipped or dropped at inference, and its twin trained with drop.

    Attributes:
        checkpoint: the checkpoint as trained.
        curves: the curves by the name of the experiment, "as trained" first.
    """

    checkpoint: Checkpoint
    curves: dict[str, Curve]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An experiment at a length, nats a token.

    Attributes:
        checkpoint: the checkpoint's name.
        experiment: the experiment's name.
        length: in tokens.
        local_nll: loss of the tokens in the window that ends at the length.
        nll: cumulative loss.
        difference: cumulative loss minus that of the checkpoint as trained.
    """

    checkpoint: str
    experiment: str
    length: int
    local_nll: Estimate
    nll: Estimate
    difference: Estimate


def experiments(laboratory: Laboratory) -> list[Experiment]:
    """Return the checkpoints that anything was clipped or dropped on."""
    found = []
    twins = {(c.base, c.tune_length): c for c in laboratory.checkpoints if c.dropped}
    for checkpoint in laboratory.checkpoints:
        if checkpoint.dropped or checkpoint != laboratory.seeds_of(checkpoint)[0]:
            continue
        curves = {
            method: curve
            for method in (AS_TRAINED, CLIP, DROP)
            if (curve := laboratory.curve(checkpoint, method)) is not None
        }
        twin = twins.get((checkpoint.base, checkpoint.tune_length))
        if twin is not None and checkpoint.tuned:
            curves[TRAINED_DROP] = laboratory.trained(twin)
        if len(curves) > 1:
            found.append(Experiment(checkpoint=checkpoint, curves=curves))
    return found


def rows(laboratory: Laboratory, found: Sequence[Experiment]) -> list[Row]:
    """Compare each experiment with the checkpoint as trained."""
    sample, measured = laboratory.sample, []
    for one in found:
        for name, curve in one.curves.items():
            for length in laboratory.judged(one.checkpoint):
                span = [s for s in scores.windows(curve.lengths) if curve.lengths[s[1]] == length]
                against = _against(laboratory, one, name, length)
                measured.append(
                    Row(
                        checkpoint=one.checkpoint.name,
                        experiment=name,
                        length=length,
                        local_nll=sample.estimate(scores.local_nll(curve, sample, span)[:, 0]),
                        nll=against.nll,
                        difference=against.difference,
                    )
                )
    return measured


def _against(laboratory: Laboratory, one: Experiment, name: str, length: int) -> scores.Difference:
    """Compare with the checkpoint as trained: another tuning over the seeds of both."""
    curve, other = one.curves[name], one.curves[AS_TRAINED]
    if name == TRAINED_DROP:
        curve, other = (tunings.trained(laboratory, c.checkpoint) for c in (curve, other))
    return scores.compare(laboratory, curve, other, length)


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = experiments(laboratory)
    measured = rows(laboratory, found)
    if not measured:
        raise DataError("nothing clipped or dropped beyond the critical dimension")
    checks = _checks(laboratory, found, measured)
    return Finding(
        name="beyond-critical",
        title="Clipping and dropping the dimensions beyond the critical one",
        source="arXiv 2310.05209, §3.4 and Fig. 8",
        claim="Clipping the positions of the dimensions beyond the critical one at T_train leads "
        "to better extrapolation; tuning without those dimensions substantially surpasses direct "
        "tuning.",
        basis=basis(laboratory, [one.checkpoint for one in found]),
        numbers={"experiments": plain(measured)},
        headline="; ".join(f"{one.text}: {one.grade}" for one in statements(checks)),
        checks=tuple(checks),
        criterion=CRITERION,
        tables=(_table(measured),),
        pictures=(
            Picture(
                file="beyond-critical.png",
                shows="local perplexity against length: as trained, clipped and dropped at "
                "inference, trained with drop; a panel a checkpoint",
                draw=partial(_draw, found),
            ),
        ),
        definitions=(
            "Clip: the dimensions beyond the critical one see positions clipped at T_train − 1, "
            "at inference; drop: they are removed from q and k, at inference or in tuning too. "
            f"Local perplexity is that of the tokens in (L / {WINDOW:.3g}, L].",
        ),
    )


def _checks(
    laboratory: Laboratory, found: Sequence[Experiment], measured: Sequence[Row]
) -> list[Check]:
    larger = {one.checkpoint.name: one.checkpoint.base > laboratory.pretrain_theta for one in found}
    words = {False: "for the base of pre-training", True: "for larger bases"}
    names = {CLIP: "clipping helps", TRAINED_DROP: "tuning without those dimensions helps"}
    return [
        below_zero(
            f"{names[row.experiment]} {words[larger[row.checkpoint]]}",
            f"{row.checkpoint} at {row.length}",
            row.difference,
        )
        for row in sorted(measured, key=lambda row: (row.experiment, larger[row.checkpoint]))
        if row.experiment in names
    ]


def _table(measured: Sequence[Row]) -> str:
    cells = []
    for row in measured:
        own = row.experiment == AS_TRAINED
        cells.append(
            [
                row.checkpoint,
                row.experiment,
                str(row.length),
                perplexity(row.local_nll.value),
                perplexity(row.nll.value),
                "" if own else with_interval(row.difference, signed=True),
                "" if own else spread(row.difference, signed=True),
            ]
        )
    headers = ["checkpoint", "experiment", "length", "local ppl", "cumulative ppl"]
    return table(
        "Perplexity, and the difference of the cumulative loss to the checkpoint as trained, in "
        "nats a token (below zero is better)",
        [*headers, "nats to as trained", "by set"],
        cells,
        left=2,
    )


def _draw(found: Sequence[Experiment]) -> Figure:
    """Draw local perplexity against length, two checkpoints beside each other."""
    panels = []
    for one in found:
        lines = []
        for name, curve in one.curves.items():
            lengths, nll = scores.local_curve(curve)
            look = {"color": COLOURS[name], "lw": 1.8}
            lines.append(Line(label=name, lengths=lengths, values=np.exp(nll), look=look))
        checkpoint = one.checkpoint
        panels.append(
            Panel(
                title=checkpoint.name,
                lines=lines,
                train_length=checkpoint.tune_length,
                bound=checkpoint.bound,
            )
        )
    return draw_panels(
        [panels[i : i + 2] for i in range(0, len(panels), 2)],
        [Scale(label="local perplexity", perplexity=True)],
        label="tokens seen (dotted: $T_{tune}$, grey: $T_{extra}$)",
    )
