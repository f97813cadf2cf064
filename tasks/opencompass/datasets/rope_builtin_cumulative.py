"""builtin_cumulative; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_builtin_cumulative_datasets = _configs.books("builtin_cumulative")
del _configs
