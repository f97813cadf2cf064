"""The class that the YAML files of this folder name."""

from rope_eval.hosts.lm_eval.paper_tasks import PaperTask

__all__ = ["PaperTask"]
