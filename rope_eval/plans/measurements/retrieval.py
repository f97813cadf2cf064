"""Retrieval of a needle by length and depth: a task of this package, named by what it measures."""

from __future__ import annotations

from rope_eval.plans.cell import Kind
from rope_eval.plans.document import Value
from rope_eval.plans.measurements.lm_eval import Task
from rope_eval.plans.values import lengths

_OPTIONS = ("lengths", "depths", "samples", "facts", "filler", "probe_seed")


def _read(value: Value) -> list[Task]:
    given = value.items(_OPTIONS, needed={"lengths": "[1k, 4k]"})
    tokens = lengths(given["lengths"])
    metadata = {name: one.plain() for name, one in given.items()} | {"lengths": list(tokens)}
    return [Task(task="retrieval", max_length=tokens[-1], metadata=metadata)]


KIND = Kind(word="retrieval", read=_read)
