"""leval_coursera_gen_36a006; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_coursera_datasets = _configs.paper("coursera")
del _configs
