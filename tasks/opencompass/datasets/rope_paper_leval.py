"""group leval; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_leval_datasets = _configs.paper("leval")
del _configs
