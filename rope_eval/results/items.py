"""What each number is made of: the sum and the count of every document or item, in one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rope_eval.results.intervals import SUMS
from rope_eval.results.metrics import length_of, measurement_of, plain
from rope_eval.results.naming import Names, setting_text, weights
from rope_eval.results.samples import scores_of
from rope_eval.results.store import Run, Store
from rope_eval.results.tidy import HARNESSES, books_of
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    import pandas as pd

IN_WINDOW = "in_window"
_ALIKE = ("fingerprint", "rope", "dtype")  # of the requests, where losses are of one model
_OF_A_RUN = ("row", "model", "weights", "setting", "kind", "key")
_OF_A_NUMBER = ("measurement", "task", "metric")
COLUMNS = (*_OF_A_RUN, *_OF_A_NUMBER, "length", "item", "sum", "n")
"""The columns of `items`: texts are categories, ``length`` and ``n`` whole numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Number:
    """A number of a run, by its items.

    Attributes:
        measurement: as in `rope_eval.results.frame`; or in_window.
        task: or the books.
        metric: as there.
        length: tokens seen, or None.
        items: their names, [N].
        sums: [N].
        counts: [N].
    """

    measurement: str
    task: str
    metric: str
    length: int | None
    items: Sequence[str]
    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def items(store: Store, names: Names | None = None) -> pd.DataFrame:
    """Return the sums of the store's done runs, a row a (run, task or books, metric, length, item).

    Over the items of a number Σ sum / Σ n is its ``value`` in `rope_eval.results.frame`, of
    perplexity e to that: what paired differences, bootstraps and regressions start from. An item is
    a document of whole books, ``name:hash``, or an item of a task, ``doc_id:hash``, where lm-eval
    kept them. In-window losses stand at the lengths at which the same documents were measured as
    whole books, of the same model under the same setting.

    Args:
        store: the runs.
        names: of the rows; by default the catalogue's.

    Raises:
        StoreError: the store cannot be read; damaged runs are left out, as `Store.runs` says.
    """
    names = names or Names()
    runs = [run for run in store.runs() if run.status == "done" and run.kind in _READERS]
    found: list[tuple[Run, _Number]] = []
    for run in runs:
        try:
            found += [(run, number) for number in _READERS[run.kind](store, run, runs)]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            store.leave_out(run.key, f"its record is of another shape: {error!r}")
    return _table(found, names)


def _table(found: Sequence[tuple[Run, _Number]], names: Names) -> pd.DataFrame:
    import pandas as pd

    numbers = [number for _, number in found]
    sizes = [len(number.items) for number in numbers]
    runs = {run.key: _of_run(run, names) for run, _ in found}
    texts = {name: [runs[run.key][name] for run, _ in found] for name in _OF_A_RUN}
    texts |= {name: [getattr(number, name) for number in numbers] for name in _OF_A_NUMBER}
    columns: dict[str, Any] = {
        name: pd.Categorical(values).repeat(sizes) for name, values in texts.items()
    }
    lengths = pd.array([number.length for number in numbers], dtype="Int64")
    return pd.DataFrame(
        columns
        | {
            "length": lengths.repeat(sizes),
            "item": pd.Categorical([item for number in numbers for item in number.items]),
            "sum": np.concatenate([np.empty(0), *(number.sums for number in numbers)]),
            "n": np.concatenate([np.empty(0, np.int64), *(number.counts for number in numbers)]),
        }
    )[list(COLUMNS)]


def _of_run(run: Run, names: Names) -> dict[str, str]:
    return {
        "row": shown(names.row(run)),
        "model": run.request["model"],
        "weights": weights(run),
        "setting": setting_text(run),
        "kind": run.kind,
        "key": run.key,
    }


def _books(store: Store, run: Run, runs: Sequence[Run]) -> Iterator[_Number]:
    lost = {one["sha256"] for one in run.results.get("failed", [])}
    documents = [_name(d) for d in run.request["documents"] if d["sha256"] not in lost]
    rows = run.results["by_document"]
    for i, length in enumerate(run.request["lengths"]):
        counts = np.array([row[i]["tokens"] for row in rows], dtype=np.int64)
        for metric, name in (("perplexity", "nll"), ("accuracy", "hits")):
            yield _Number(
                measurement="perplexity",
                task=books_of(run),
                metric=metric,
                length=length,
                items=documents,
                sums=np.array([row[i][name] for row in rows], dtype=np.float64),
                counts=counts,
            )


def _in_windows(store: Store, run: Run, runs: Sequence[Run]) -> Iterator[_Number]:
    documents = run.request["documents"]
    nll = np.cumsum(store.arrays(run.key)["nll"], axis=1, dtype=np.float64)
    there = {document["sha256"] for document in documents}
    lengths = {
        length
        for other in runs
        if other.kind == "cumulative"
        and all(other.request.get(name) == run.request.get(name) for name in _ALIKE)
        and there >= {document["sha256"] for document in other.request["documents"]}
        for length in other.request["lengths"]
    }
    for length in sorted(n for n in lengths if 2 <= n <= run.request["length"]):
        yield _Number(
            measurement=IN_WINDOW,
            task=books_of(run),
            metric="perplexity",
            length=length,
            items=list(map(_name, documents)),
            sums=nll[:, length - 2],
            counts=np.full(len(documents), length - 1),
        )


def _name(document: Mapping[str, str]) -> str:
    return f"{document['name']}:{document['sha256'][:16]}"  # names may repeat


def _tasks(store: Store, run: Run, runs: Sequence[Run]) -> Iterator[_Number]:
    arrays = store.arrays(run.key)
    for task, record in run.results["tasks"].items():
        for metric in record["samples"]:
            of_items = scores_of(arrays, task, metric)
            scores = np.array(list(of_items.values()), dtype=np.float64)
            counts = np.ones(len(scores), dtype=np.int64)
            if scores.ndim == 2:
                if plain(metric) not in SUMS:
                    continue
                scores, counts = scores[:, SUMS[plain(metric)]], scores[:, 2].astype(np.int64)
            yield _Number(
                measurement=measurement_of(task),
                task=task,
                metric=metric,
                length=length_of(metric),
                items=list(map(str, of_items)),
                sums=scores,
                counts=counts,
            )


_READERS: Mapping[str, Callable[[Store, Run, Sequence[Run]], Iterator[_Number]]] = MappingProxyType(
    {"cumulative": _books, IN_WINDOW: _in_windows} | dict.fromkeys(HARNESSES, _tasks)
)
