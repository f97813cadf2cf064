"""The words that say what the numbers of a finding rest on."""

from __future__ import annotations

from collections.abc import Iterable

from studies.scaling_laws.finding import base_label
from studies.scaling_laws.runs import Checkpoint, Laboratory


def basis(laboratory: Laboratory, checkpoints: Iterable[Checkpoint]) -> str:
    """Return documents, sets and seeds of curves, and how intervals are made."""
    text = laboratory.text
    repeated: dict[int, set[float]] = {}
    for checkpoint in checkpoints:
        count = len(laboratory.seeds_of(checkpoint))
        if count > 1:
            repeated.setdefault(count, set()).add(checkpoint.base)
    seeds = "".join(
        f"; {count} seeds of the tuning for the bases {', '.join(map(base_label, sorted(bases)))} "
        "(see the spread over seeds)"
        for count, bases in sorted(repeated.items())
    )
    return (
        f"{laboratory.documents} documents of {text['tokens']} tokens, in {laboratory.sets} "
        f"disjoint sets; one seed for each checkpoint{seeds}. Intervals are 95 %, by bootstrap "
        "over documents, paired; a / b / c are the values in each set."
    )
