"""How much of a number is the seed of the tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rope_eval.errors import DataError
from rope_eval.labels import base_label
from studies.scaling_laws.claim import Finding, basis, length, perplexity, table
from studies.scaling_laws.contexts import DEFINITION, Held, held_alone
from studies.scaling_laws.runs import JUDGED, Checkpoint, Laboratory
from studies.scaling_laws.sampling import plain
from studies.scaling_laws.scores import cumulative_nll


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeated:
    """The seeds of one tuning.

    Attributes:
        seeds: the checkpoints.
        nll: cumulative loss, nats a token, by length; a value a seed.
        contexts: measured max contexts, one a seed.
    """

    seeds: tuple[Checkpoint, ...]
    nll: dict[int, tuple[float, ...]]
    contexts: tuple[Held, ...]

    def range(self, length: int) -> float:
        """Return the highest minus the lowest loss at a length, nats a token."""
        return max(self.nll[length]) - min(self.nll[length])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "base": self.seeds[0].base,
            "tune_length": self.seeds[0].tune_length,
            "seeds": [c.seed for c in self.seeds],
            "nll": plain(self.nll),
            "nll_range": {str(n): self.range(n) for n in self.nll},
            "max_contexts": [h.to_dict() for h in self.contexts],
        }


def repeated(laboratory: Laboratory) -> list[Repeated]:
    """Return the tunings that were repeated with other seeds."""
    found = []
    for first in laboratory.checkpoints:
        seeds = laboratory.seeds_of(first)
        if len(seeds) < 2 or first != seeds[0]:
            continue
        curves = [laboratory.trained(c) for c in seeds]
        nll = {
            n: tuple(float(cumulative_nll(c, laboratory.sample, n)[0]) for c in curves)
            for n in laboratory.multiples(*JUDGED)
        }
        contexts = tuple(held_alone(laboratory, c) for c in seeds)
        found.append(Repeated(seeds=seeds, nll=nll, contexts=contexts))
    return found


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    found = repeated(laboratory)
    if not found:
        raise DataError("no tuning was repeated with another seed")
    lengths = laboratory.multiples(*JUDGED)
    return Finding(
        name="seeds",
        title="The spread over seeds",
        source="no claim of a paper",
        claim="How far a number moves with the seed of the tuning: what the intervals of all other "
        "findings have beside the documents.",
        basis=basis(laboratory, [r.seeds[0] for r in found]),
        numbers={"tunings": [r.to_dict() for r in found]},
        headline="widest range over seeds: "
        + ", ".join(f"{max(r.range(n) for r in found):.3f} nats a token at {n}" for n in lengths),
        tables=(_table(found, lengths),),
        definitions=(DEFINITION,),
    )


def _table(found: Sequence[Repeated], lengths: Sequence[int]) -> str:
    rows = []
    for r in found:
        row = [base_label(r.seeds[0].base), ", ".join(str(c.seed) for c in r.seeds)]
        for n in lengths:
            row += [" / ".join(map(perplexity, r.nll[n])), f"{r.range(n):.3f}"]
        longest = r.contexts[0].context.longest
        row.append(" / ".join(length(h.estimate.value, longest) for h in r.contexts))
        rows.append(row)
    headers = ["base", "seeds"]
    for n in lengths:
        headers += [f"ppl at {n}", f"range, nats at {n}"]
    return table(
        "Cumulative perplexity and measured max context, a value a seed",
        [*headers, "max context"],
        rows,
    )
