"""The lm-eval tasks of `tasks/`: needles as the lab's models are trained on, in held-out text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.hosts.lm_eval.distance_task import DistanceTask
from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from studies.scaling_laws.probe import LAB, held_out_text


class LabRetrievalTask(RetrievalTask):
    """Retrieval with the facts that the lab's models are trained on."""

    FORM = LAB

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the held-out sources."""
        return held_out_text()


class LabDistanceTask(DistanceTask):
    """The same at distances drawn from a whole range."""

    FORM = LAB

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the held-out sources."""
        return held_out_text()
