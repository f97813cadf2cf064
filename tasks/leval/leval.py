"""The class that the YAML files of this folder name."""

from rope_eval.harness.paper_tasks import PaperTask

__all__ = ["PaperTask"]
