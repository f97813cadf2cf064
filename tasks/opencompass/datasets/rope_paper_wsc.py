"""SuperGLUE_WSC_ppl_003529; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_wsc_datasets = _configs.paper("wsc")
del _configs
