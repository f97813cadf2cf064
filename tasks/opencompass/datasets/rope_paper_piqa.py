"""piqa_ppl_1cf9f0; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_piqa_datasets = _configs.paper("piqa")
del _configs
