"""Fig. 5: the periods of the pairs against the training length; theory alone."""

from __future__ import annotations

from functools import partial

from rope_eval import theory
from studies.scaling_laws.finding import Finding, Picture, base_label, markdown_table
from studies.scaling_laws.runs import Laboratory


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import periods as figures

    train, d, pretrain = laboratory.train_length, laboratory.head_dim, laboratory.pretrain_theta
    largest = max(c.base for c in laboratory.checkpoints if c.tune_length == train)
    bases = sorted({float(round(theory.pivot_bases(train)[2])), pretrain, largest})
    critical = theory.critical_dimension(d, train, pretrain_theta=pretrain)
    counts = [sum(t <= train for t in theory.periods(base, head_dim=d)) for base in bases]
    reach = [theory.TWO_PI * base ** (critical / d) for base in bases]
    table = [
        [base_label(base), str(d // 2), str(count), f"{tokens:.0f}"]
        for base, count, tokens in zip(bases, counts, reach, strict=True)
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
            f"{count} of {d // 2} pairs turn fully at base {base_label(base)}"
            for base, count in zip(bases, counts, strict=True)
        ),
        tables=(markdown_table(headers, table),),
        pictures=(
            Picture(
                file="periods.png",
                shows="the period of each pair of dimensions against the training length, a "
                "panel a base",
                draw=partial(
                    figures.draw_periods, bases, head_dim=d, train_length=train, critical=critical
                ),
            ),
        ),
    )
