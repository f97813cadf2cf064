"""The class that ``retrieval.yaml`` names."""

from rope_eval.hosts.lm_eval.retrieval_task import RetrievalTask

__all__ = ["RetrievalTask"]
