"""builtin_cumulative; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_builtin_cumulative_datasets = _configs.books("builtin_cumulative")
del _configs
