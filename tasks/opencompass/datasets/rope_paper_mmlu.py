"""mmlu_ppl_ac766d; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_mmlu_datasets = _configs.paper("mmlu")
del _configs
