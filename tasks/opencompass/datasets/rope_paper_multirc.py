"""SuperGLUE_MultiRC_ppl_ced824; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_multirc_datasets = _configs.paper("multirc")
del _configs
