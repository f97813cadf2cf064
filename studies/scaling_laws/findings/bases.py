"""Figs. 2 to 4: larger and smaller bases, and whether the base of pre-training is the worst."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rope_eval.errors import DataError
from studies.scaling_laws import scores
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    base_label,
    decided,
    markdown_table,
    percent,
    perplexity,
    spread,
    with_interval,
)
from studies.scaling_laws.findings.basis import basis
from studies.scaling_laws.runs import Checkpoint, Laboratory
from studies.scaling_laws.sampling import Estimate, finite

FACTORS = (2, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """The base of pre-training among all bases tuned at T_train, at one length.

    Attributes:
        length: In tokens.
        rank: Of the base of pre-training by cumulative perplexity, 1 the worst.
        of: Number of bases.
        worst: The worst base.
        rival: The worst base other than that of pre-training.
        difference: The base of pre-training minus the rival, nats a token.
        share: Of the bootstrap resamples in which the base of pre-training is the worst.
        smallest: The smallest base minus that of pre-training, nats a token.
        largest: The largest base minus that of pre-training, nats a token.
    """

    length: int
    rank: int
    of: int
    worst: float
    rival: float
    difference: Estimate
    share: float
    smallest: Estimate
    largest: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "length": self.length,
            "rank": self.rank,
            "of": self.of,
            "worst_base": self.worst,
            "rival_base": self.rival,
            "difference": self.difference.to_dict(),
            "share_of_resamples": finite(self.share),
            "smallest_base_difference": self.smallest.to_dict(),
            "largest_base_difference": self.largest.to_dict(),
        }


def worst_base(laboratory: Laboratory, length: int) -> Worst:
    """Compare the base of pre-training with all others tuned at T_train."""
    tuned, own = _tuned(laboratory)
    sample = laboratory.sample
    nll = np.array([scores.cumulative_nll(laboratory.trained(c), sample, length) for c in tuned])
    others = [i for i in range(len(tuned)) if i != own]
    rival = max(others, key=lambda i: nll[i, 0])
    return Worst(
        length=length,
        rank=1 + int((nll[others, 0] > nll[own, 0]).sum()),
        of=len(tuned),
        worst=tuned[int(nll[:, 0].argmax())].base,
        rival=tuned[rival].base,
        difference=sample.estimate(nll[own] - nll[rival]),
        share=sample.share(nll.argmax(0) == own),
        smallest=sample.estimate(nll[0] - nll[own]),
        largest=sample.estimate(nll[-1] - nll[own]),
    )


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import bases as figures

    tuned, _ = _tuned(laboratory)
    lengths = laboratory.multiples(*FACTORS)
    results = [worst_base(laboratory, length) for length in lengths]
    theta = base_label(laboratory.pretrain_theta)
    curves = [laboratory.trained(c) for c in tuned]
    yes = [r.length for r in results if r.rank == 1]
    no = [r.length for r in results if r.rank > 1]
    return Finding(
        name="bases",
        title="Larger and smaller bases",
        source="arXiv 2310.05209, §2, Figs. 2, 3 and 4",
        claim=f"Tuned at T_train, both larger and smaller bases extrapolate better; {theta}, the "
        "base of pre-training, is the worst.",
        basis=basis(laboratory, tuned),
        numbers={
            "worst": [result.to_dict() for result in results],
            "curves": [
                {
                    "base": c.checkpoint.base,
                    "lengths": list(c.lengths),
                    "perplexity": [finite(x) for x in scores.perplexities(c)],
                    "accuracy": [finite(x) for x in scores.accuracies(c)],
                }
                for c in curves
            ],
        },
        headline=f"{theta} is the worst of {len(tuned)} bases at "
        + (f"{', '.join(map(str, yes))} tokens" if yes else "none of the lengths")
        + (f", not at {', '.join(map(str, no))}" if yes and no else ""),
        checks=tuple(_checks(results, theta, tuned)),
        tables=(_perplexities(laboratory, tuned), _answers(results, theta)),
        pictures=(
            Picture(
                file="bases.png",
                shows="cumulative perplexity and accuracy against length, smaller bases on the "
                "left, larger on the right",
                draw=partial(figures.draw_curves, curves, laboratory.pretrain_theta),
            ),
            Picture(
                file="heatmap.png",
                shows="heat maps of perplexity and accuracy, base by length",
                draw=partial(figures.draw_heatmaps, curves, laboratory.pretrain_theta),
            ),
        ),
        definitions=(
            "Perplexity and accuracy are cumulative: sums over all tokens up to a length, of all "
            "documents. Only checkpoints tuned at T_train count.",
        ),
    )


def _tuned(laboratory: Laboratory) -> tuple[tuple[Checkpoint, ...], int]:
    tuned = laboratory.tuned(laboratory.train_length)
    own = [i for i, c in enumerate(tuned) if c.base == laboratory.pretrain_theta]
    if not own or len(tuned) < 2:
        raise DataError(
            f"no checkpoint tuned at {laboratory.train_length} tokens with the base "
            f"{base_label(laboratory.pretrain_theta)}, or none with another"
        )
    return tuned, own[0]


def _checks(results: list[Worst], theta: str, tuned: tuple[Checkpoint, ...]) -> list[Check]:
    checks = []
    for result in results:
        checks.append(
            Check(
                statement=f"{theta} is the worst base at {result.length}",
                holds=decided(result.difference, above=True),
            )
        )
    for name, base, differences in (
        ("smallest", tuned[0].base, [r.smallest for r in results]),
        ("largest", tuned[-1].base, [r.largest for r in results]),
    ):
        if base == tuned[0].rope.pretrain_theta:
            continue
        for result, difference in zip(results, differences, strict=True):
            checks.append(
                Check(
                    statement=f"the {name} base, {base_label(base)}, is better than {theta} at "
                    f"{result.length}",
                    holds=decided(difference, above=False),
                )
            )
    return checks


def _perplexities(laboratory: Laboratory, tuned: tuple[Checkpoint, ...]) -> str:
    lengths = laboratory.multiples(1, *FACTORS)
    rows = []
    for checkpoint in tuned:
        curve = laboratory.trained(checkpoint)
        ppl, accuracy = scores.perplexities(curve), scores.accuracies(curve)
        at = [curve.index(length) for length in lengths]
        rows.append(
            [base_label(checkpoint.base), f"{checkpoint.bound:.0f}"]
            + [f"{perplexity(np.log(ppl[i]))} ({percent(accuracy[i])})" for i in at]
        )
    headers = ["base", "T_extra", *map(str, lengths)]
    return (
        f"Cumulative perplexity (accuracy) of the bases tuned at {laboratory.train_length}, by "
        f"length:\n\n{markdown_table(headers, rows)}"
    )


def _answers(results: list[Worst], theta: str) -> str:
    rows = [
        [
            str(r.length),
            {1: "yes", 0: "open", -1: "no"}[r.difference.sign],
            f"{r.rank} of {r.of}",
            base_label(r.worst),
            base_label(r.rival),
            with_interval(r.difference, signed=True),
            spread(r.difference, signed=True),
            percent(r.share),
        ]
        for r in results
    ]
    headers = ["length", "the worst?", "rank", "worst base", "worst other", "nats more"]
    return (
        f"Is {theta} the worst? Its rank from the worst, and how many nats a token more it has "
        "than the worst of the other bases (last: the part of the resamples in which it is the "
        f"worst):\n\n{markdown_table([*headers, 'by set', 'resamples'], rows)}"
    )
