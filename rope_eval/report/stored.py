"""A table of any measurement in the store: tasks that no table of the paper has a column for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.report import published as paper
from rope_eval.report import ruler
from rope_eval.report.choice import EVERYTHING, Choice
from rope_eval.report.formats import Table
from rope_eval.report.grid import Grid, newest
from rope_eval.report.runs import lines_of
from rope_eval.results.metrics import plain
from rope_eval.results.store import Store
from rope_eval.results.tidy import LENGTH_NOT_RUN, frame

if TYPE_CHECKING:
    import pandas as pd

    Line = Mapping[str, Any]

NAMES: Mapping[str, tuple[str | None, str | None]] = MappingProxyType(
    {
        "perplexity": (None, "perplexity"),
        "accuracy": ("perplexity", "accuracy"),
        "retrieval": ("retrieval", None),
        "ruler": ("ruler", None),
        "longbench": ("longbench", None),
        "babilong": ("babilong", None),
        "infinitebench": ("infinitebench", None),
        "graphwalks": ("graphwalks", None),
        "nolima": ("nolima", None),
        "helmet": ("helmet", None),
        "tasks": (None, None),
    }
)
"""The measurement and the metric that a name stands for; None for any."""

_RULER = "ruler"
_COUNTS = ("documents", "documents_too_short", "tokens")  # no scores


def stored_table(
    store: Store,
    name: str,
    metric: str | None = None,
    *,
    choice: Choice = EVERYTHING,
    published: bool = False,
    intervals: bool = False,
    threshold: float | None = None,
) -> Table:
    """Return a table of what was measured, its numbers as recorded (a fraction, a perplexity).

    Where anything has a length, a row is a model, task and metric, and a column a length, a part
    of a task (of LongBench by length), or `value` for what has neither. Else a row is a model, and
    a column a task. Of several runs the newest stands, and the caption says so. RULER has the mean
    of its tasks too, where all have a score, and the effective length by it.

    Args:
        store: the runs.
        name: of `NAMES`, or tasks or patterns of them (``arc_*``) with commas between.
        metric: the only metric to show, such as ``acc``.
        choice: of rows, tasks or metrics, and lengths.
        published: take the paper's numbers too.
        intervals: show 95 % intervals beside the numbers.
        threshold: of RULER's effective length, in percent; by default the paper's.

    Raises:
        SpecError: the store has no such task, metric, row or length; or the paper has none; or a
            threshold of another table than RULER's.
    """
    if threshold is not None and name != _RULER:
        raise SpecError(f"a threshold is of the table ruler, not of {name}: leave it out")
    threshold = ruler.check_threshold(ruler.THRESHOLD if threshold is None else threshold)
    measured = _selected(frame(store, intervals=intervals), name, metric, store)
    if published:
        measured = _with_paper(measured, name, metric)
    rows = list(Choice(rows=choice.rows).of(measured)["row"].unique())
    lines = [
        line
        for line in lines_of(choice.of(measured))
        if choice.columns or plain(line["metric"]) not in _COUNTS
    ]
    if name == _RULER:
        lines += ruler.means(line for line, _ in newest(lines))
    grid = Grid(lines, rows, name=name, published=published, intervals=intervals)
    for line, several in newest(lines):
        grid.add(line, several=several)
    if name == _RULER:
        grid.add_effective(threshold)
    return grid.table()


def _selected(measured: pd.DataFrame, name: str, metric: str | None, store: Store) -> pd.DataFrame:
    """Return the lines of the tasks and the metric that a table is of."""
    measured = measured[measured["task"].notna() & measured["metric"].notna()]
    measured = measured[measured["remark"].fillna("") != LENGTH_NOT_RUN]
    chosen = measured[_of_name(measured, name, metric)]
    if chosen.empty:
        raise _nothing(name, metric, list(measured["task"].unique()), store)
    return chosen


def _of_name(measured: pd.DataFrame, name: str, metric: str | None) -> list[bool]:
    measurement, its_metric = NAMES.get(name, (None, None))
    patterns = [part.strip() for part in name.split(",")]
    metrics = {metric, its_metric} - {None}
    columns = zip(measured["measurement"], measured["task"], measured["metric"], strict=True)
    return [
        measurement in (None, of)
        and (name in NAMES or any(fnmatchcase(task, pattern) for pattern in patterns))
        and metrics <= {plain(column)}
        for of, task, column in columns
    ]


def _with_paper(measured: pd.DataFrame, name: str, metric: str | None) -> pd.DataFrame:
    import pandas as pd

    lines = pd.DataFrame(paper.lines(), columns=list(measured.columns)).astype(measured.dtypes)
    lines = lines[_of_name(lines, name, metric)]
    if lines.empty:
        tasks = ", ".join(dict.fromkeys(line["task"] for line in paper.lines()))
        raise SpecError(f"the paper has no numbers of {name}, only of {tasks}")
    return pd.concat([measured, lines], ignore_index=True)


def _nothing(name: str, metric: str | None, tasks: Sequence[str], store: Store) -> SpecError:
    of = f" with metric {metric!r}" if metric else ""
    if name in NAMES:
        return SpecError(
            f"{store.root} has nothing for the table {name!r}{of}: measure or import it first"
            + (f"; there are {', '.join(tasks)}" if tasks else "")
        )
    return SpecError(
        f"there is no table {name!r}: choose one of {', '.join((*paper.NAMES, *NAMES))}, or a task "
        f"of {store.root}{of}, which has {', '.join(tasks) or 'none'}."
        + did_you_mean(name, [*tasks, *NAMES])
    )
