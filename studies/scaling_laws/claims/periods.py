"""Fig. 5: the periods of the pairs against the training length; theory alone."""

from __future__ import annotations

from rope_eval import theory
from rope_eval.labels import base_label
from rope_eval.report.figures.periods import draw_periods
from studies.scaling_laws.claim import Finding, Picture, markdown_table
from studies.scaling_laws.runs import Laboratory


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    train, d, pretrain = laboratory.train_length, laboratory.head_dim, laboratory.pretrain_theta
    largest = max(c.base for c in laboratory.checkpoints if c.tune_length == train)
    bases = sorted({float(round(theory.pivot_bases(train)[2])), pretrain, largest})
    critical = theory.critical_dimension(d, train, pretrain_theta=pretrain)
    periods = {base_label(base): theory.periods(base, head_dim=d) for base in bases}
    counts = [sum(turn <= train for turn in turns) for turns in periods.values()]
    reach = [theory.TWO_PI * base ** (critical / d) for base in bases]
    rows = [
        [label, str(d // 2), str(count), f"{tokens:.0f}"]
        for label, count, tokens in zip(periods, counts, reach, strict=True)
    ]
    headers = ["base", "pairs", f"turn fully within {train}", "period at d_extra, tokens"]
    return Finding(
        name="periods",
        title="Periods against the training length",
        source="arXiv 2310.05209, Fig. 5",
        claim="For small bases all periods lie within the training length; for the base of "
        "pre-training those past the critical dimension stretch beyond it; for larger bases more "
        "do, but only the dimensions past the critical one fail to extrapolate.",
        basis="Theory alone: no measurement.",
        numbers={
            "critical_dimension": critical,
            "bases": bases,
            "pairs_within": counts,
            "period_at_critical_dimension": reach,
        },
        headline=", ".join(
            f"{count} of {d // 2} pairs turn fully at base {label}"
            for label, count in zip(periods, counts, strict=True)
        ),
        tables=(markdown_table(headers, rows),),
        pictures=(
            Picture(
                file="periods.png",
                shows="the period of each pair of dimensions against the training length, a "
                "panel a base",
                draw=lambda: draw_periods(
                    {f"base {label}": turns for label, turns in periods.items()},
                    train_length=train,
                    critical_dimension=critical,
                ),
            ),
        ),
    )
