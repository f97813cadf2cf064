"""What has one rotary base goes together: the only grouping by base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from rope_eval.scores import TokenScores

if TYPE_CHECKING:
    from rope_eval.rope.rotary import Rotary

Item = TypeVar("Item")


def by_base(
    rotaries: Sequence[Rotary], items: Iterable[Item], length: Callable[[Item], int]
) -> list[list[Item]]:
    """Part items by the base that their whole sequences have.

    All are one group, except where the length of a sequence sets its base.

    Args:
        rotaries: the setting on a checkpoint's layers, and what the others have.
        items: what is scored, such as texts.
        length: returns an item's tokens.

    Returns:
        The groups, each in the order of the items; no group is empty.
    """
    groups: dict[tuple[float, ...], list[Item]] = defaultdict(list)
    several = [rotary for rotary in rotaries if rotary.base_changes == "per_sequence"]
    for item in items:
        groups[tuple(rotary.alpha(length(item)) for rotary in several)].append(item)
    return list(groups.values())


def score_by_base(
    rotaries: Sequence[Rotary],
    lengths: Sequence[int],
    score: Callable[[int, Callable[[float], None]], TokenScores],
    progress: Callable[[float], None] | None = None,
) -> dict[int, TokenScores]:
    """Score a document at several lengths by one pass for each base that they have.

    Args:
        rotaries: as `by_base` takes them.
        lengths: what the document is cut to.
        score: scores its first L tokens, and reports the part of that work done.
        progress: called with the part of all work done, from 0 to 1.

    Returns:
        For each length L the scores of tokens 1 … L − 1, in the order of `lengths`.
    """
    passes = by_base(rotaries, lengths, lambda length: length)
    work = sum(max(same_base) for same_base in passes)
    done = 0
    scored = {}
    for same_base in passes:
        longest = max(same_base)

        def report(part: float, longest: int = longest, done: int = done) -> None:
            if progress:
                progress((done + part * longest) / work)

        scores = score(longest, report)
        done += longest
        for n in same_base:
            scored[n] = TokenScores(nll=scores.nll[: n - 1], hit=scores.hit[: n - 1])
    return {length: scored[length] for length in lengths}
