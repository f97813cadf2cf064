"""The classes that the YAML files of this folder name."""

from collections.abc import Mapping
from typing import Any

from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask
from studies.scaling_laws.probe import LAB, held_out_text

__all__ = ["LabRetrievalTask", "RetrievalTask"]


class LabRetrievalTask(RetrievalTask):
    """The same with the facts that the lab's models are trained on."""

    FORM = LAB

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the held-out sources."""
        return held_out_text()
