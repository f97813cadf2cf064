"""§3.4, Fig. 8b: clipping and dropping the dimensions beyond the critical one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rope_eval.errors import DataError
from studies.scaling_laws import scores
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    decided,
    markdown_table,
    perplexity,
    spread,
)
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.findings.comparison import Difference, compare
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Checkpoint, Curve, Laboratory
from studies.scaling_laws.sampling import Estimate

FACTORS = (8, 32)
CLIP, DROP, TRAINED_DROP = "clip", "drop", "trained with drop"


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A checkpoint as trained, clipped or dropped at inference, and its twin trained with drop.

    Attributes:
        checkpoint: It.
        curves: By the name of the experiment, "as trained" first.
    """

    checkpoint: Checkpoint
    curves: dict[str, Curve]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An experiment at a length: cumulative against as trained, and local, nats a token."""

    checkpoint: str
    experiment: str
    length: int
    cumulative: Difference
    local: Estimate


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
            for length in laboratory.multiples(*FACTORS):
                span = [s for s in scores.windows(curve) if curve.lengths[s[1]] == length]
                measured.append(
                    Row(
                        checkpoint=one.checkpoint.name,
                        experiment=name,
                        length=length,
                        cumulative=compare(laboratory, curve, one.curves[AS_TRAINED], length),
                        local=sample.estimate(scores.local_nll(curve, sample, span)[:, 0]),
                    )
                )
    return measured


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import beyond_critical as figures

    found = experiments(laboratory)
    measured = rows(laboratory, found)
    if not measured:
        raise DataError("nothing clipped or dropped beyond the critical dimension")
    first = measured[0].length
    checks = [
        Check(
            statement=f"{row.experiment}: better than {row.checkpoint} as trained at {first}",
            holds=decided(row.cumulative.difference, above=False),
        )
        for row in measured
        if row.length == first and row.experiment in (CLIP, TRAINED_DROP)
    ]
    return Finding(
        name="beyond-critical",
        title="Clipping and dropping the dimensions beyond the critical one",
        source="arXiv 2310.05209, §3.4 and Fig. 8",
        claim="Clipping the positions of the dimensions beyond the critical one at T_train leads "
        "to better extrapolation; tuning without those dimensions substantially surpasses direct "
        "tuning.",
        basis=basis(laboratory, [one.checkpoint for one in found]),
        numbers={
            "experiments": [
                {
                    "checkpoint": row.checkpoint,
                    "experiment": row.experiment,
                    "length": row.length,
                    "local_nll": row.local.to_dict(),
                    **row.cumulative.to_dict(),
                }
                for row in measured
            ]
        },
        headline=f"{sum(c.holds is True for c in checks)} of {len(checks)} statements hold at "
        f"{first} tokens",
        checks=tuple(checks),
        tables=(_table(measured),),
        pictures=(
            Picture(
                file="beyond-critical.png",
                shows="local perplexity against length: as trained, clipped and dropped at "
                "inference, trained with drop; a panel a checkpoint",
                draw=partial(
                    figures.draw_beyond_critical,
                    [(one.checkpoint.name, one.curves) for one in found],
                ),
            ),
        ),
        definitions=(
            "Clip: the dimensions beyond the critical one see positions clipped at T_train − 1, "
            "at inference; drop: they are removed from q and k, at inference or in tuning too. "
            f"Local perplexity is that of the tokens in (L / {scores.WINDOW:.3g}, L].",
        ),
    )


def _table(measured: Sequence[Row]) -> str:
    cells = [
        [
            row.checkpoint,
            row.experiment,
            str(row.length),
            perplexity(row.local.value),
            row.cumulative.cells()[0],
            "" if row.experiment == AS_TRAINED else row.cumulative.cells()[1],
            "" if row.experiment == AS_TRAINED else spread(row.cumulative.difference, signed=True),
        ]
        for row in measured
    ]
    headers = ["checkpoint", "experiment", "length", "local ppl", "cumulative ppl"]
    return (
        "Perplexity, and the difference of the cumulative loss to the checkpoint as trained, in "
        "nats a token (below zero is better):\n\n"
        + markdown_table([*headers, "nats to as trained", "by set"], cells, left=2)
    )
