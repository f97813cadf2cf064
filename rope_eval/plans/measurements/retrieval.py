"""Retrieval of a needle by length and depth, or by distance: tasks of this package."""

from __future__ import annotations

from rope_eval.plans.cell import Kind
from rope_eval.plans.document import Value
from rope_eval.plans.measurements.lm_eval import Task
from rope_eval.plans.values import lengths

_OF_PROBES = ("samples", "facts", "filler", "probe_seed")


def _read(value: Value) -> list[Task]:
    given = value.items(("lengths", "depths", "distances", "bins", *_OF_PROBES))
    drawn = "distances" in given
    of_the_other = ("lengths", "depths") if drawn else ("bins",)
    for name in of_the_other:
        if name in given:
            given[name].refuse(
                f"{name} has no meaning {'beside' if drawn else 'without'} distances: lengths and "
                "depths are asked for one by one, distances are drawn from all of a range"
            )
    if not drawn and "lengths" not in given:
        value.refuse("lengths is missing, as in lengths: [1k, 4k]; or distances: [128, 4k]")
    places = "distances" if drawn else "lengths"
    tokens = lengths(given[places])
    if drawn and len(tokens) != 2:
        given[places].refuse("distances must be the shortest and the longest, as in [128, 4k]")
    metadata = {name: one.plain() for name, one in given.items()} | {places: list(tokens)}
    task = "retrieval_distances" if drawn else "retrieval"
    return [Task(task=task, max_length=tokens[-1], metadata=metadata)]


KIND = Kind(word="retrieval", read=_read)
