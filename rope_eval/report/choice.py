"""Which of the measured numbers are shown, and in which order: rows, tasks or metrics, lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.results.metrics import plain

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 12  # names in an error


def chosen(
    frame: pd.DataFrame,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    lengths: Sequence[int] = (),
) -> pd.DataFrame:
    """Return the part of a frame that was asked for, in the order that it was asked in.

    Args:
        frame: of `rope_eval.results.frame`; of its columns ``row``, ``task``, ``metric`` and
            ``length`` are read.
        rows: names of rows, or shell patterns of them (case counts), in one text or several with
            commas between. A name that has commas is found as it stands; in a pattern ``?`` stands
            for one. Empty for all, as they stand.
        columns: the same, of tasks, metrics (with and without what follows their ``@`` and ``,``)
            or both with a space between.
        lengths: in tokens. What has no length is left out then.

    Raises:
        SpecError: a pattern that matches nothing, or a length that nothing was measured at.
    """
    frame = _ordered(frame, rows, lambda line: (line[0],), "row", ["row"])
    frame = _ordered(frame, columns, _column_names, "task or metric", ["task", "metric"])
    if lengths:
        there = sorted(map(int, frame["length"].dropna().unique()))
        for length in lengths:
            if length not in there:
                raise SpecError(
                    f"nothing was measured at a length of {length}: there are "
                    f"{', '.join(map(str, there)) or 'none'}"
                )
        frame = frame[frame["length"].isin(list(lengths))]
    return frame


def in_order(texts: Sequence[str], names: Iterable[str], what: str) -> dict[str, int]:
    """Return the names that were chosen, and which pattern (from 0) chose each: its first.

    Args:
        texts: patterns, as `chosen` takes them; empty for all names.
        names: those there are.
        what: they are called in an error.

    Raises:
        SpecError: a pattern that matches nothing.
    """
    known = list(dict.fromkeys(names))
    if not texts:
        return dict.fromkeys(known, 0)
    place: dict[str, int] = {}
    for position, pattern in enumerate(_patterns(texts, set(known))):
        found = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
        if not found:
            raise SpecError(
                f"there is no {what} {pattern!r}.{did_you_mean(pattern, known)} There are "
                f"{_listed(known)}; * and ? stand for any text and any character, a comma too"
            )
        for name in found:
            place.setdefault(name, position)
    return place


def _patterns(texts: Sequence[str], known: set[str]) -> list[str]:
    """Split texts at their commas, those within a known name excepted."""
    patterns = []
    for text in texts:
        parts = text.split(",")
        while parts:
            heads = (",".join(parts[:count]).strip() for count in range(len(parts), 1, -1))
            head = next((head for head in heads if head in known), parts[0].strip())
            parts = parts[head.count(",") + 1 :]
            patterns.append(head)
    return patterns


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(map(repr, names[:_LISTED])) or "none") + more


def _ordered(
    frame: pd.DataFrame,
    texts: Sequence[str],
    names_of: Callable[[tuple[str, ...]], tuple[str, ...]],
    what: str,
    read: list[str],
) -> pd.DataFrame:
    """Keep the lines of which a name was chosen, sorted by the pattern that chose it."""
    if not texts:
        return frame
    names = [names_of(line) for line in frame[read].fillna("").itertuples(index=False)]
    place = in_order(texts, (name for some in names for name in some if name), what)
    ranks = [min((place[name] for name in some if name in place), default=-1) for some in names]
    kept = frame[[rank >= 0 for rank in ranks]]
    order = sorted(range(len(kept)), key=[rank for rank in ranks if rank >= 0].__getitem__)
    return kept.iloc[order]


def _column_names(line: tuple[str, ...]) -> tuple[str, ...]:
    task, metric = line
    return tuple(dict.fromkeys((task, metric, plain(metric), f"{task} {plain(metric)}".strip())))
