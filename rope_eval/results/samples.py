"""What the items of a task got, as a run keeps it: an array a metric, and the items' names.

``TASK/docs`` has the names, ``doc_id:hash``, in their order. ``TASK/METRIC,FILTER`` has a score an
item, or three columns, where a score is made of sums: nats, hits and tokens. A metric that is not
of all items, as RULER's are of a length each, says of which in ``TASK/METRIC,FILTER/items``, by
their places.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
Column = Mapping[str, Any]

_SUMS = re.compile(r"Sums\(nll=([0-9.e+-]{1,30}), hits=([0-9]{1,15}), tokens=([0-9]{1,15})\)")


def arrays_of(columns: Mapping[str, Column], items: Sequence[str]) -> Arrays:
    """Return the arrays of a task, without its name.

    Args:
        columns: by metric the items' scores, or their `sums`, by the items' names.
        items: all names.
    """
    if not columns:
        return {}
    names = sorted(items)
    arrays = {"docs": np.array(names)}
    for metric, column in columns.items():
        places = [place for place, name in enumerate(names) if name in column]
        scores = [column[names[place]] for place in places]
        is_sums = isinstance(scores[0], tuple)
        arrays[metric] = np.array(scores, dtype=np.float64 if is_sums else np.float32)
        if len(places) < len(names):
            arrays[f"{metric}/items"] = np.array(places)
    return arrays


def scores_of(arrays: Mapping[str, npt.NDArray[Any]], task: str, metric: str) -> dict[str, Any]:
    """Return each item's score, or its sums, by the item's name; empty where none are kept."""
    names, scores = arrays.get(f"{task}/docs"), arrays.get(f"{task}/{metric}")
    if names is None or scores is None:
        return {}
    places = arrays.get(f"{task}/{metric}/items")
    return dict(zip(names if places is None else names[places], scores, strict=True))


def sums_of(column: Column) -> dict[str, tuple[float, int, int]]:
    """Return nats, hits and tokens of each item, where all are such sums, else nothing.

    lm-eval writes `rope_eval.scores.Sums` of the tasks of this package as they are shown.
    """
    found = {item: _SUMS.fullmatch(str(value)) for item, value in column.items()}
    return {
        item: (float(sums[1]), int(sums[2]), int(sums[3]))
        for item, sums in found.items()
        if sums and all(found.values()) and math.isfinite(float(sums[1]))
    }
