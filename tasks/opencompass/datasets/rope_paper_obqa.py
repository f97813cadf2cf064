"""obqa_ppl_c7c154; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_obqa_datasets = _configs.paper("obqa")
del _configs
