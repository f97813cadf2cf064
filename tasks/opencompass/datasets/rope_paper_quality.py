"""leval_quality_gen_36a006; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_quality_datasets = _configs.paper("quality")
del _configs
