"""winogrande_ppl_55a66e; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_winogrande_datasets = _configs.paper("winogrande")
del _configs
