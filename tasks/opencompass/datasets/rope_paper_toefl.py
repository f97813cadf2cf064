"""leval_tpo_gen_36a006; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_toefl_datasets = _configs.paper("toefl")
del _configs
