"""arXiv 2405.14591: does a base under its bound keep perplexity and lose retrieval?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rope_eval.errors import DataError
from studies.scaling_laws.finding import (
    Check,
    Finding,
    Picture,
    base_label,
    length,
    markdown_table,
    percent,
    tokens,
)
from studies.scaling_laws.findings.contexts import DEFINITION
from studies.scaling_laws.findings.kept import ENOUGH, Kept, everything
from studies.scaling_laws.measurements import AS_TRAINED
from studies.scaling_laws.runs import Laboratory


def find(laboratory: Laboratory) -> Finding:
    """Return the finding."""
    from studies.scaling_laws.figures import retrieval as figures

    found = everything(laboratory)
    if not found:
        raise DataError("no retrieval probes of checkpoints as trained")
    asked = [k for k in found if k.loses is not None]
    losing = sum(bool(k.loses) for k in asked)
    past = sum(k.retrieves_past is not None for k in found)
    samples = sorted({len(k.retrieval.right) for k in found})
    depths = sorted({d for one in laboratory.retrieval.values() for d in one.depths})
    curves = [(laboratory.trained(k.checkpoint), laboratory.in_window(k.checkpoint)) for k in found]
    return Finding(
        name="retrieval",
        title="Perplexity kept, retrieval lost",
        source="arXiv 2405.14591",
        claim="A base under the lower bound for a length can keep a low perplexity there and "
        "still lose retrieval: B(m) = Σ cos(m·β^(−2i/d)) turns negative.",
        basis=f"{' or '.join(map(str, samples))} samples at each length, in {laboratory.sets} sets "
        "of samples, whose filler is drawn from all of the text and may overlap; one seed; "
        f"perplexity of {laboratory.documents} documents. The value stands first (depth "
        f"{depths[0]:g}), so the length is its distance. Wilson's intervals for accuracies, "
        "bootstrap over samples or documents for lengths.",
        numbers={
            "checkpoints": [k.to_dict() for k in found],
            "under_their_bound": len(asked),
            "lose_retrieval": losing,
            "retrieve_past_their_bound": past,
        },
        headline=f"{losing} of {len(asked)} checkpoints keep perplexity and lose retrieval at a "
        f"length past their base's bound; {past} of {len(found)} do retrieve at a length past it",
        checks=tuple(_checks(found)),
        tables=(_lengths(found), _accuracies(found), _under_methods(laboratory)),
        pictures=(
            Picture(
                file="retrieval.png",
                shows="retrieval accuracy and local loss above the in-window one against length, "
                "a column a tuning length",
                draw=partial(figures.draw_retrieval, found, curves),
            ),
            Picture(
                file="retrieval-lengths.png",
                shows="for each checkpoint: up to where B(m) is not negative, up to where it "
                "retrieves, and the measured max context",
                draw=partial(figures.draw_lengths, found),
            ),
        ),
        definitions=(
            DEFINITION,
            "The bound's length of a base is the largest m up to which B is not negative. A base "
            "keeps perplexity up to its measured max context. It loses retrieval where, at a "
            "length past the bound's and within that context, the accuracy's whole interval is "
            f"below {ENOUGH:.0%}, and retrieves past the bound where it is above. It retrieves up "
            "to the length at which, and at all shorter ones, the accuracy is at least "
            f"{ENOUGH:.0%}; one that fails at the shortest has learned no retrieval and is left "
            "out of the count. A guess is right once in a hundred.",
        ),
    )


def _checks(found: Sequence[Kept]) -> list[Check]:
    checks = [
        Check(
            statement=f"{k.checkpoint.name}, past its bound of {k.feasible}, keeps perplexity up "
            f"to {length(k.held.estimate.value, k.held.context.longest)} and loses retrieval",
            holds=k.loses,
        )
        for k in found
        if k.loses is not None
    ]
    for k in found:
        if k.learned and k.feasible is not None and k.retrieval.lengths[-1] > k.feasible:
            checks.append(
                Check(
                    statement=f"{k.checkpoint.name} retrieves at no length past its bound of "
                    f"{k.feasible}",
                    holds=k.retrieves_past is None,
                )
            )
        marks = k.marks(under=False)
        if k.learned and marks and k.checkpoint.tuned:
            checks.append(
                Check(
                    statement=f"control: {k.checkpoint.name} retrieves up to its bound where "
                    f"perplexity is kept ({marks[-1][0]} tokens)",
                    holds=marks[-1][1] >= ENOUGH,
                )
            )
    return checks


def _lengths(found: Sequence[Kept]) -> str:
    rows = []
    for k in found:
        longest = k.held.context.longest
        answer = {True: "yes", False: "no", None: "–"}[k.loses]
        rows.append(
            [
                k.checkpoint.name,
                base_label(k.checkpoint.base),
                f"> {longest}" if k.feasible is None else str(k.feasible),
                f"{k.retrieves.value:.0f} [{k.retrieves.low:.0f}, {k.retrieves.high:.0f}]",
                " / ".join(f"{x:.0f}" for x in k.retrieves.sets),
                tokens(k.held.estimate, longest),
                answer if k.learned else "retrieval not learned",
                "–" if k.retrieves_past is None else str(k.retrieves_past),
            ]
        )
    headers = ["checkpoint", "base", "B(m) ≥ 0 up to", "retrieves up to", "by set"]
    return "Lengths in tokens (0: retrieves at none):\n\n" + markdown_table(
        [*headers, "max context", "keeps perplexity, loses retrieval?", "retrieves past bound at"],
        rows,
    )


def _accuracies(found: Sequence[Kept]) -> str:
    lengths = sorted({n for k in found for n in k.retrieval.lengths})
    rows = []
    for k in found:
        marks = dict(
            zip(k.retrieval.lengths, zip(k.accuracy, k.intervals, strict=True), strict=True)
        )
        rows.append(
            [k.checkpoint.name]
            + [
                f"{percent(marks[n][0])} [{100 * marks[n][1][0]:.0f}, {100 * marks[n][1][1]:.0f}]"
                if n in marks
                else "–"
                for n in lengths
            ]
        )
    return "Retrieval accuracy by length, the value first:\n\n" + markdown_table(
        ["checkpoint", *map(str, lengths)], rows
    )


def _under_methods(laboratory: Laboratory) -> str:
    """Return the accuracies of what was also asked under methods of inference."""
    asked = {c.name for c in laboratory.checkpoints} & {
        name for name, method in laboratory.retrieval if method != AS_TRAINED
    }
    some = {key: one for key, one in laboratory.retrieval.items() if key[0] in asked}
    if not some:
        return "Under methods of inference: not measured."
    lengths = sorted({n for one in some.values() for n in one.lengths})
    rows = []
    for checkpoint in laboratory.checkpoints:
        for (name, method), one in sorted(some.items(), key=lambda item: item[0][1]):
            if name == checkpoint.name:
                marks = dict(zip(one.lengths, one.right[:, :, 0].mean(0), strict=True))
                rows.append(
                    [name, method, *(percent(marks[n]) if n in marks else "–" for n in lengths)]
                )
    return "The same under methods of inference (T_ref = T_extra):\n\n" + markdown_table(
        ["checkpoint", "method", *map(str, lengths)], rows, left=2
    )
