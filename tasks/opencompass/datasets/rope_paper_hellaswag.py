"""hellaswag_ppl_47bff9; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_hellaswag_datasets = _configs.paper("hellaswag")
del _configs
