"""SuperGLUE_WiC_ppl_312de9; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_wic_datasets = _configs.paper("wic")
del _configs
