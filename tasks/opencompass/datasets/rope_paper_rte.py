"""SuperGLUE_RTE_ppl_66caf3; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_rte_datasets = _configs.paper("rte")
del _configs
