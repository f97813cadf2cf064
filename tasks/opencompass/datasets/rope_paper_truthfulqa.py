"""truthfulqa; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_truthfulqa_datasets = _configs.paper("truthfulqa")
del _configs
