"""What a text on the command line names for a comparison: a run, a row, or a row of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rope_eval.errors import DataError, SpecError, did_you_mean
from rope_eval.protocols.columns import TASKS
from rope_eval.report import published as paper
from rope_eval.report.choice import Choice, check_lengths_there, picked
from rope_eval.report.pooled import Pooled
from rope_eval.report.runs import Part, Row, Score, items_of, rows_of
from rope_eval.results.metrics import length_of, plain
from rope_eval.results.store import Store
from rope_eval.results.tidy import BOOKS, HARNESSES

_KINDS = (*HARNESSES, *BOOKS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison: its name and its columns.

    A published score has one part without a name where its number of items is known, else none.

    Attributes:
        name: as it was asked for.
        scores: columns of the protocol, and other fractions by task and metric.
        pooled: perplexities and others that are made of sums, by books or task and metric.
        protocol: of the scores.
    """

    name: str
    scores: dict[str, Score]
    pooled: dict[str, Pooled] = field(default_factory=dict)
    protocol: str = "paper"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return all that it has."""
        return (*self.scores, *self.pooled)

    def chosen(self, choice: Choice) -> Side:
        """Return a side with the columns and lengths that were chosen, in that order.

        Raises:
            SpecError: a pattern that matches no column, or a length that there is none of.
        """
        columns = list(self.columns)
        names = [_names_of(column) for column in columns]
        columns = [columns[i] for i in picked(choice.columns, names, "column")]
        if choice.lengths:
            at = {column: _length_of(column) for column in columns}
            check_lengths_there(choice.lengths, {n for n in at.values() if n is not None})
            columns = [column for column in columns if at[column] in choice.lengths]
        return replace(
            self,
            scores={c: self.scores[c] for c in columns if c in self.scores},
            pooled={c: self.pooled[c] for c in columns if c in self.pooled},
        )


def _names_of(column: str) -> tuple[str, ...]:
    task, _, metric = column.rpartition(" ")
    return (column, task, metric, plain(metric), f"{task} {plain(metric)}")


def _length_of(column: str) -> int | None:
    return length_of(column.rpartition(" ")[2])


def sides(texts: Sequence[str], store: Store, protocol: str, baseline: str) -> list[Side]:
    """Return what texts on the command line name: as `side`, or every measured row of a pattern.

    The baseline is no row of a pattern. Arguments and errors as for `side`.
    """
    rows = _measured(store)
    found: dict[str, Side] = {}
    for text in texts:
        names = [text]
        if is_pattern(text):
            known = list(dict.fromkeys(row.name for row in rows))
            matched = picked([text], [(name,) for name in known], "row that was measured")
            names = [known[i] for i in matched if known[i] != baseline]
            if not names:
                raise DataError(f"{text!r} names no row but the baseline")
        for name in names:
            found.setdefault(name, _named(name, rows, store, protocol))
    return list(found.values())


def is_pattern(text: str) -> bool:
    """Return whether a text on the command line may name several rows."""
    return not text.startswith(paper.PREFIX) and not set(text).isdisjoint("*?")


def side(text: str, store: Store, protocol: str = "paper") -> Side:
    """Return what a text on the command line names.

    Args:
        text: ``paper:LLaMA2 7B/base=10000`` (a row of Tables 3 to 5; ``paper:LLaMA2 7B`` is the
            row of that name), a run's key or the beginning of it, or a row of the catalogue or of
            a table of runs; where both harnesses ran it, ``lm_eval:`` or ``opencompass:`` and its
            name.
        store: where runs are.
        protocol: of measured scores.

    Raises:
        SpecError: for a row that the paper does not have.
        DataError: for a name that no run has, or several.
    """
    return _named(text, [] if text.startswith(paper.PREFIX) else _measured(store), store, protocol)


def _measured(store: Store) -> list[Row]:
    return [row for row in rows_of(store) if row.parts or row.others or row.pooled]


def _named(text: str, rows: Sequence[Row], store: Store, protocol: str) -> Side:
    if text.startswith(paper.PREFIX):
        return _published(text)
    found = [row for row in rows if text in (row.name, f"{row.harness}:{row.name}")]
    keys: list[str] = []
    if not found:
        keys = [run.key for run in store.runs() if run.kind in _KINDS and run.key.startswith(text)]
        found = rows_of(store, keys) if len(keys) == 1 else []
    tasks = [row for row in found if row.harness]
    books = [row for row in found if not row.harness]
    if len(tasks) > 1 or len(books) > 1 or not found:
        several = len(found) > 1 or len(keys) > 1
        raise DataError(
            f"{text!r} names {'several runs' if several else 'no run'} of tasks or books in "
            f"{store.root}: give a run's key, a row that was measured (lm_eval:ROW or "
            "opencompass:ROW where both ran it), or paper:LLaMA2 7B/base=10000."
            + ("" if several else did_you_mean(text, [row.name for row in rows]))
        )
    if tasks and books and tasks[0].checkpoint != books[0].checkpoint:
        books = []  # another model of that name
    pooled: dict[str, Pooled] = {}
    for row in (*tasks, *books):
        pooled |= row.pooled
    scores = _scores(tasks[0], protocol) if tasks else {}
    return Side(name=text, scores=scores, pooled=pooled, protocol=protocol)


def _scores(row: Row, protocol: str) -> dict[str, Score]:
    scores = {column: row.score(column, protocol) for column in TASKS[protocol]}
    scores |= {
        column: Score(value=part.value, parts=(part,), notes=tuple(items_of([part], None)))
        for column, part in row.others.items()
    }
    return {column: score for column, score in scores.items() if score.parts}


def _published(text: str) -> Side:
    model, slash, label = text.removeprefix(paper.PREFIX).strip().partition("/")
    size = model.removeprefix("LLaMA2").strip()
    name = f"{paper.PREFIX}LLaMA2 {size}/{label if slash else model}"
    lines = [line for line in paper.lines() if line["measurement"] == "task"]
    scores = {line["task"]: _printed(line) for line in lines if line["row"] == name}
    if not scores:
        names = list(dict.fromkeys(line["row"] for line in lines))
        raise SpecError(
            f"Tables 3 to 5 have no row {text!r}.{did_you_mean(text, names)} Write it as "
            "paper:LLaMA2 7B/base=10000, with the row's name as in the tables"
        )
    return Side(name=text, scores=scores)


def _printed(line: dict[str, object]) -> Score:
    value, n = line["value"], line["n"]
    assert isinstance(value, float), "a score that is printed is a number"
    parts = (Part(task="", value=value, n=n, n_all=n),) if isinstance(n, int) else ()
    return Score(value=value, parts=parts, notes=())
