"""The lm-eval task `lab_retrieval`: tasks/lab_retrieval.yaml names its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from studies.scaling_laws.probe import LAB, held_out_text


class LabRetrievalTask(RetrievalTask):
    """Retrieval with the facts that the lab's models are trained on."""

    FORM = LAB

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the held-out sources."""
        return held_out_text()
