"""The lm-eval task of retrieval by distance: needles at distances drawn from a whole range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lm_eval.api.metrics import mean

from rope_eval.data.distances import Distances
from rope_eval.data.probes import ProbePlan
from rope_eval.errors import SpecError
from rope_eval.hosts.lm_eval.retrieval_task import (
    Answer,
    RetrievalTask,
    by_length,
    is_right,
    marks,
)
from rope_eval.scores import Sums


class DistanceTask(RetrievalTask):
    """Exact match and NLL of a needle by its distance, in bins.

    A needle stands first and the question last, so a probe of so many tokens has its needle at that
    distance. An item is a sample, at one distance of its own (`Distances`); ``accuracy@L`` is over
    those of the bin whose greatest distance is L, and ``accuracy`` over all.

    Its YAML gives the defaults in ``metadata``: ``distances``, the shortest and the longest,
    ``bins``, and ``samples``, ``facts``, ``probe_seed`` and ``filler`` as `RetrievalTask` has them.
    """

    OWN = ("distances", "bins", "samples", "facts", "probe_seed", "filler")
    _distances: Distances

    def _planned(self, given: Mapping[str, Any], text: str) -> ProbePlan:
        ends = given["distances"]
        if not isinstance(ends, (list, tuple)) or len(ends) != 2:
            raise SpecError(f"distances must be [shortest, longest] in tokens, got {ends!r}")
        self._distances = Distances(
            shortest=ends[0],
            longest=ends[1],
            samples=given["samples"],
            bins=given["bins"],
            seed=given["probe_seed"],
        )
        return ProbePlan(
            form=self.FORM,
            text=text,
            lengths=tuple(sorted(set(self._distances.drawn))),
            depths=(0.0,),
            samples=given["samples"],
            seed=given["probe_seed"],
            facts=given["facts"],
        )

    def test_docs(self) -> list[dict[str, Any]]:
        """Return the samples: what is asked for, the answer, and the distance."""
        drawn = self._distances.drawn
        return [doc | {"distance": drawn[doc["sample"]]} for doc in super().test_docs()]

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[Answer]
    ) -> dict[str, float | Sums]:
        """Mark a sample in the bin of its distance, and in all."""
        (answer,) = results
        bin_end = self._distances.end_of(doc["distance"])
        return {"accuracy": is_right(doc, answer), **marks(doc, bin_end, results)}

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], float]]:
        """Return how each number comes from the samples'."""
        return {"accuracy": mean, **by_length(self._distances.ends)}

    def _places(self, doc: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
        yield doc["distance"], 0.0
