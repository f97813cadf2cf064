"""pg19_cumulative; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_pg19_cumulative_datasets = _configs.books("pg19_cumulative")
del _configs
