"""leval_gsm100_gen_77dd94; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_gsm_datasets = _configs.paper("gsm")
del _configs
