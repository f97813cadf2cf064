"""nq_gen_c788f6; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_nq_datasets = _configs.paper("nq")
del _configs
