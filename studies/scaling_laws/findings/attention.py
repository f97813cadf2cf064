"""Figs. 6, 8 and 10: mean attention scores before and beyond the critical dimension."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rope_eval import theory
from rope_eval.errors import DataError
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    decided,
    markdown_table,
    spread,
    with_interval,
)
from studies.scaling_laws.findings.drift import Drifts, drifts
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Laboratory
from studies.scaling_laws.sampling import Sample

PARTS = ("before", "beyond")


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import attention as figures

    found = drifts(laboratory)
    if not found:
        raise DataError("no attention scores past the bound of a checkpoint")
    documents = sorted({len(d.attention.sums) for d in found})
    checks = _checks(laboratory, found)
    larger = [d for d in found if _is_larger(laboratory, d)]
    more = sum(d.difference.sign > 0 for d in larger)
    return Finding(
        name="attention",
        title="Attention scores before and beyond the critical dimension",
        source="arXiv 2310.05209, §3.2 to §3.4, Figs. 6, 8 and 10",
        claim="Past the bound the scores of the dimensions beyond the critical one leave what "
        "they were in training, while those before it stay; smaller bases have seen their "
        "oscillations in training, and dynamic NTK and clipping keep scores consistent.",
        basis=f"{' or '.join(map(str, documents))} documents in {laboratory.sets} disjoint sets, "
        "one seed; all layers and heads pooled. Intervals are 95 %, by bootstrap over documents.",
        numbers={
            "drift": [
                {
                    "checkpoint": d.attention.checkpoint.name,
                    "method": d.attention.method,
                    "documents": len(d.attention.sums),
                    "before": d.before.to_dict(),
                    "beyond": d.beyond.to_dict(),
                    "beyond_minus_before": d.difference.to_dict(),
                }
                for d in found
            ]
        },
        headline=f"the part beyond leaves its range by more than the part before for {more} of "
        f"{len(larger)} checkpoints with a bound of pre-training's critical dimension",
        checks=tuple(checks),
        tables=(_table(found),),
        pictures=(
            Picture(
                file="attention.png",
                shows="mean attention score of both parts against relative position, a panel a "
                "checkpoint; the smallest of the larger bases under methods too",
                draw=partial(
                    figures.draw_attention,
                    [(d.name, d.attention) for d in _shown(laboratory, found)],
                ),
            ),
        ),
        definitions=(
            "A part's range is from the lowest to the highest mean of a bin at distances within "
            'T_tune, of the checkpoint as trained. "Leaves by": how far outside of it the farthest '
            'bin past T_extra lies; "shift": the mean past T_extra minus that of the last octave '
            "within T_tune as trained. Both are in widths of the range.",
        ),
    )


def _shown(laboratory: Laboratory, found: Sequence[Drifts]) -> list[Drifts]:
    """Return what the figure has room for: methods of the smallest larger base alone."""
    tuned = [d.attention.checkpoint for d in found if _is_larger(laboratory, d)]
    bases = {c.base for c in tuned if c.tune_length == laboratory.train_length}
    bases -= {laboratory.pretrain_theta}
    return [
        d
        for d in found
        if d.attention.method == AS_TRAINED
        or (
            d.attention.checkpoint.base == min(bases, default=None)
            and d.attention.checkpoint.tune_length == laboratory.train_length
        )
    ]


def _is_larger(laboratory: Laboratory, one: Drifts, *, as_trained: bool = True) -> bool:
    """Return whether its bound is that of pre-training's critical dimension.

    So it is above the critical base of its T_tune, and at T_train for the base of pre-training too.
    """
    checkpoint = one.attention.checkpoint
    return (one.attention.method == AS_TRAINED) == as_trained and (
        checkpoint.base > checkpoint.critical_base
        or (
            checkpoint.tune_length == laboratory.train_length
            and checkpoint.base == laboratory.pretrain_theta
        )
    )


def _checks(laboratory: Laboratory, found: Sequence[Drifts]) -> list[Check]:
    checks = [
        Check(
            statement=f"{d.name}: the part beyond leaves its range by more than the part before",
            holds=decided(d.difference, above=True),
        )
        for d in found
        if _is_larger(laboratory, d)
    ]
    by_name = {d.name: d for d in found}
    own = [
        d
        for d in found
        if _is_larger(laboratory, d)
        and d.attention.checkpoint.tuned
        and d.attention.checkpoint.base == laboratory.pretrain_theta
    ]
    smallest_pivot = theory.pivot_bases(laboratory.train_length)[2] * 1.05
    for d in found:
        checkpoint, method = d.attention.checkpoint, d.attention.method
        small = checkpoint.base <= smallest_pivot and method == AS_TRAINED
        pairs = [(d, other) for other in own if small]
        if _is_larger(laboratory, d, as_trained=False) and checkpoint.name in by_name:
            pairs.append((d, by_name[checkpoint.name]))
        for one, other in pairs:
            checks.append(
                Check(
                    statement=f"the part beyond leaves its range by less for {one.name} than for "
                    f"{other.name}",
                    holds=_less(one, other, laboratory.sets),
                )
            )
    return checks


def _less(one: Drifts, other: Drifts, sets: int) -> bool | None:
    if len(one.attention.sums) != len(other.attention.sums):
        return None
    sample = Sample(len(one.attention.sums), sets)
    return decided(sample.estimate(one.beyond.rows - other.beyond.rows), above=False)


def _table(found: Sequence[Drifts]) -> str:
    rows = []
    for d in found:
        row = [d.name, f"{d.attention.checkpoint.bound:.0f}"]
        for part in (d.before, d.beyond):
            row += [
                f"{part.within.value:.2f}",
                with_interval(part.shift, 2, signed=True),
                with_interval(part.leaves, 2),
                spread(part.leaves, 2),
            ]
        rows.append(row)
    headers = ["checkpoint", "T_extra"]
    for name in PARTS:
        headers += [f"{name}: range", "shift", "leaves by", "by set"]
    return (
        "The parts before and beyond the critical dimension (range in logits, the others in "
        f"widths of it):\n\n{markdown_table(headers, rows)}"
    )
