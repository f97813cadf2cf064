"""SuperGLUE_RTE_ppl_66caf3; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_rte_datasets = _configs.paper("rte")
del _configs
