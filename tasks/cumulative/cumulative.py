"""The class that the YAML files of this folder name."""

from rope_eval.hosts.lm_eval.cumulative_task import CumulativeTask

__all__ = ["CumulativeTask"]
