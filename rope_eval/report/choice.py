"""Which of the measured numbers are shown, and in which order: rows, tasks or metrics, lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.results.metrics import plain

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 12  # names in an error
_COLUMN = "task or metric"


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
    if rows:
        names = [(name,) for name in frame["row"].fillna("")]
        frame = frame.iloc[picked(rows, names, "row")]
    if columns:
        pairs = zip(frame["task"].fillna(""), frame["metric"].fillna(""), strict=True)
        frame = frame.iloc[picked(columns, [_column_names(*pair) for pair in pairs], _COLUMN)]
    if lengths:
        check_lengths_there(lengths, frame["length"].dropna().unique())
        frame = frame[frame["length"].isin(list(lengths))]
    return frame


def check_lengths_there(lengths: Sequence[int], there: Iterable[int]) -> None:
    """Raise `SpecError` for a length that nothing was measured at.

    Args:
        lengths: that were asked for.
        there: those that there are.
    """
    known = sorted(map(int, there))
    for length in lengths:
        if length not in known:
            raise SpecError(
                f"nothing was measured at a length of {length}: there are "
                f"{', '.join(map(str, known)) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What `chosen` takes, as one value.

    Attributes:
        rows: patterns of rows.
        columns: patterns of tasks or metrics.
        lengths: in tokens.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    lengths: Sequence[int] = ()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return what was chosen of a frame, as `chosen` does."""
        return chosen(frame, rows=self.rows, columns=self.columns, lengths=self.lengths)


EVERYTHING = Choice()


def picked(texts: Sequence[str], names: Sequence[Sequence[str]], what: str) -> list[int]:
    """Return the places of what was chosen, in the order of the patterns; the first one counts.

    Args:
        texts: patterns, as `chosen` takes them; empty for everything.
        names: what each is called.
        what: they are called in an error.

    Raises:
        SpecError: a pattern that matches nothing.
    """
    if not texts:
        return list(range(len(names)))
    known = list(dict.fromkeys(name for some in names for name in some if name))
    rank: dict[str, int] = {}
    for position, pattern in enumerate(_patterns(texts, set(known))):
        found = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
        if not found:
            raise SpecError(
                f"there is no {what} {pattern!r}.{did_you_mean(pattern, known)} There are "
                f"{_listed(known)}; * and ? stand for any text and any character, a comma too"
            )
        for name in found:
            rank.setdefault(name, position)
    ranks = [min((rank[name] for name in some if name in rank), default=-1) for some in names]
    return sorted((i for i, place in enumerate(ranks) if place >= 0), key=ranks.__getitem__)


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


def _column_names(task: str, metric: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((task, metric, plain(metric), f"{task} {plain(metric)}".strip())))
