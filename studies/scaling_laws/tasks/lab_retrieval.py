"""The class that ``lab_retrieval.yaml`` names."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:  # lm-eval loads this file by its path, from anywhere
    sys.path.insert(0, ROOT)

from studies.scaling_laws.measuring.probe import LAB, held_out_text  # noqa: E402

__all__ = ["LabRetrievalTask"]


class LabRetrievalTask(RetrievalTask):
    """The task `retrieval`, with the facts that the lab's models are trained on."""

    FORM = LAB

    def filler(self, metadata: Mapping[str, Any], longest: int) -> str:
        """Return the held-out sources."""
        return held_out_text()
