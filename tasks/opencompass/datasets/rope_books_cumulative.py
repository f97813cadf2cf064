"""books3_cumulative; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_books_cumulative_datasets = _configs.books("books3_cumulative")
del _configs
