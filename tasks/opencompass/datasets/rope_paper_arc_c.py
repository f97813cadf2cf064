"""ARC_c_ppl_a450bd; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_arc_c_datasets = _configs.paper("arc_c")
del _configs
