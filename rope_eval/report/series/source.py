"""`Source`: the numbers and the runs of a store, of the rows and tasks that were chosen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from rope_eval.catalogue.files import OF_THE_WEIGHTS
from rope_eval.errors import DataError
from rope_eval.report.choice import chosen
from rope_eval.report.runs import lines_of
from rope_eval.report.series.data import Notes
from rope_eval.report.series.laws import RunLaws
from rope_eval.results.conditions import CONDITIONS
from rope_eval.results.naming import Names, setting_text, weights
from rope_eval.results.store import Run, Store
from rope_eval.results.tidy import frame
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    import pandas as pd

_OF_THE_LAWS = re.compile(rf",({'|'.join(OF_THE_WEIGHTS)})=[^,]*")
Line = dict[str, Any]
ATTENTION = "attention"


class Source:
    """A store's numbers.

    Args:
        store: the runs.
        rows: as in `rope_eval.report.choice.chosen`.
        columns: the same.
        lengths: the same.

    Attributes:
        notes: what could not be drawn, so far.
    """

    def __init__(
        self,
        store: Store,
        *,
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
        lengths: Sequence[int] = (),
    ) -> None:
        self.store, self.lengths = store, tuple(lengths)
        self._rows, self._columns = rows, columns
        self.names = Names()
        self.notes = Notes()

    @cached_property
    def runs(self) -> Mapping[str, Run]:
        """All runs, by their keys."""
        return {run.key: run for run in self.store.runs()}

    @cached_property
    def laws(self) -> RunLaws:
        """What is known of the runs' models."""
        return RunLaws(self.runs, self.names)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The frame's rows that were chosen, of all lengths."""
        every = frame(self.store, self.names, intervals=True)
        return chosen(every, rows=self._rows, columns=self._columns)

    def profiles(self) -> list[Line]:
        """Return the runs of attention that were chosen, one a line, of all lengths."""
        import pandas as pd

        lines = [
            {
                "row": shown(self.names.row(run)),
                "model": run.request["model"],
                "weights": weights(run),
                "host": "rope-eval",
                "setting": setting_text(run),
                "task": run.request.get("books"),
                "metric": ATTENTION,
                "length": run.results.get("length"),
                "key": run.key,
            }
            for run in self.runs.values()
            if run.kind == ATTENTION and run.status == "done"
        ]
        if not lines:
            return []
        table = chosen(pd.DataFrame(lines), rows=self._rows, columns=self._columns)
        return list(lines_of(chosen(table, lengths=self.lengths)))

    def at_lengths(self, lines: Sequence[Line]) -> list[Line]:
        """Return the lines of the chosen lengths."""
        if not self.lengths or not lines:
            return list(lines)
        import pandas as pd

        return list(lines_of(chosen(pd.DataFrame(lines), lengths=self.lengths)))

    def left(self, lines: Sequence[Line], what: str, how: str) -> list[Line]:
        """Return lines that have a number; note which rows have none, and why.

        Args:
            lines: of the frame.
            what: is drawn, in words.
            how: it is measured, in words.

        Raises:
            DataError: where no line has one.
        """
        there = [line for line in lines if line["value"] is not None and isfinite(line["value"])]
        for line in lines:
            if line["value"] is None:
                self.notes.add(line["remark"] or "its score is not a number", [_place(line)])
            elif not isfinite(line["value"]):
                self.notes.add("past the largest number", [_place(line)])
        if not there:
            raise self.nothing(f"nothing to draw: the store has no {what}: {how}")
        rows = dict.fromkeys(str(row) for row in self.measured["row"].dropna())
        drawn = {line["row"] for line in lines}
        self.notes.add(f"not drawn, as there is no {what}", [r for r in rows if r not in drawn])
        return there

    def nothing(self, why: str) -> DataError:
        """Return the error where nothing is left to draw, with the reasons so far."""
        return DataError(". ".join((why, *self.notes.lines())))

    def note_unlike(self, lines: Sequence[Line]) -> None:
        """Note in what the scores of a task were asked for otherwise."""
        for task in dict.fromkeys(line["task"] for line in lines):
            of_task = [line for line in lines if line["task"] == task]
            for name in CONDITIONS:
                said: dict[str, dict[str, None]] = {}
                for line in of_task:
                    if line.get(name) is not None:
                        said.setdefault(line[name], {})[line["label"]] = None
                if len(said) > 1:
                    self.notes.add(
                        f"not asked alike in {task}: {name}",
                        [f"{value} ({', '.join(labels)})" for value, labels in said.items()],
                    )


def labelled(lines: Sequence[Line]) -> list[Line]:
    """Return the lines with a ``label``: the row, and what tells its checkpoints and hosts apart.

    Of a row that is a model and its setting, the fields that the laws alone take are left out where
    no two rows differ in them.
    """
    rows = dict.fromkeys(line["row"] for line in lines)
    short = {row: _OF_THE_LAWS.sub("", row) for row in rows}
    shared = Counter(short.values())
    there: dict[tuple[str, str], dict[str, set[str]]] = {}
    for line in lines:
        found = there.setdefault((line["task"], line["row"]), {"weights": set(), "host": set()})
        for name, values in found.items():
            values.add(line[name] or "")
    for line in lines:
        differ = there[line["task"], line["row"]]
        more = [
            line[name][:7] if name == "weights" else line[name]
            for name in differ
            if len(differ[name]) > 1 and line[name]
        ]
        row = line["row"]
        label = short[row] if shared[short[row]] == 1 else row
        line["label"] = label + (f" ({', '.join(more)})" if more else "")
    return list(lines)


def newest(lines: Sequence[Line], *by: str, notes: Notes) -> list[Line]:
    """Return the newest of the lines that are alike in the named columns, in their first order."""
    found: dict[tuple[Any, ...], Line] = {}
    for line in lines:
        place = tuple(line[name] for name in by)
        old = found.get(place)
        if old is not None and old["value"] != line["value"]:
            notes.add("the newest of runs that differ", [_place(line)])
        if old is None or line["started"] is None or (old["started"] or "") <= line["started"]:
            found[place] = line
    return list(found.values())


def _place(line: Line) -> str:
    length = "" if line.get("length") is None else f" at {line['length']}"
    return f"{line.get('label', line['row'])}, {line['task']}{length}"
