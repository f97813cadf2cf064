"""How much of a number is the seed of the tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rope_eval.errors import DataError
from studies.scaling_laws import scores
from studies.scaling_laws.finding import (
    Finding,
    base_label,
    length,
    markdown_table,
    perplexity,
)
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.findings.contexts import DEFINITION, Held, held
from studies.scaling_laws.runs import Checkpoint, Laboratory

FACTORS = (4, 32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeated:
    """The seeds of one tuning.

    Attributes:
        seeds: The checkpoints.
        nll: Cumulative, nats a token, by length; a value a seed.
        contexts: Measured max contexts, one a seed.
    """

    seeds: tuple[Checkpoint, ...]
    nll: dict[int, tuple[float, ...]]
    contexts: tuple[Held, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "base": self.seeds[0].base,
            "tune_length": self.seeds[0].tune_length,
            "seeds": [c.seed for c in self.seeds],
            "nll": {str(n): list(values) for n, values in self.nll.items()},
            "nll_range": {str(n): max(values) - min(values) for n, values in self.nll.items()},
            "max_contexts": [h.to_dict() for h in self.contexts],
        }


def repeated(laboratory: Laboratory) -> list[Repeated]:
    """Return the tunings that were repeated with other seeds."""
    lengths = laboratory.multiples(*FACTORS)
    found = []
    for first in laboratory.checkpoints:
        seeds = laboratory.seeds_of(first)
        if len(seeds) < 2 or first != seeds[0]:
            continue
        curves = [laboratory.trained(c) for c in seeds]
        found.append(
            Repeated(
                seeds=seeds,
                nll={
                    n: tuple(
                        float(scores.cumulative_nll(c, laboratory.sample, n)[0]) for c in curves
                    )
                    for n in lengths
                },
                contexts=tuple(held(laboratory, c) for c in seeds),
            )
        )
    return found


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = repeated(laboratory)
    if not found:
        raise DataError("no tuning was repeated with another seed")
    lengths = laboratory.multiples(*FACTORS)
    widest = {n: max(max(r.nll[n]) - min(r.nll[n]) for r in found) for n in lengths}
    return Finding(
        name="seeds",
        title="The spread over seeds",
        source="no claim of a paper",
        claim="Everything else here is of one seed of the tuning. This is how far a number moves "
        "with it.",
        basis=basis(laboratory, [r.seeds[0] for r in found]),
        numbers={"tunings": [r.to_dict() for r in found]},
        headline="widest range over seeds: "
        + ", ".join(f"{x:.3f} nats a token at {n}" for n, x in widest.items()),
        tables=(_table(found, lengths),),
        definitions=(DEFINITION,),
    )


def _table(found: Sequence[Repeated], lengths: Sequence[int]) -> str:
    rows = []
    for r in found:
        row = [base_label(r.seeds[0].base), ", ".join(str(c.seed) for c in r.seeds)]
        for n in lengths:
            row.append(" / ".join(perplexity(value) for value in r.nll[n]))
            row.append(f"{max(r.nll[n]) - min(r.nll[n]):.3f}")
        longest = r.contexts[0].context.longest
        row.append(" / ".join(length(h.estimate.value, longest) for h in r.contexts))
        rows.append(row)
    headers = ["base", "seeds"]
    for n in lengths:
        headers += [f"ppl at {n}", f"range, nats at {n}"]
    return "Cumulative perplexity and measured max context, a value a seed:\n\n" + markdown_table(
        [*headers, "max context"], rows
    )
