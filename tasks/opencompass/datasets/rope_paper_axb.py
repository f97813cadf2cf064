"""SuperGLUE_AX_b_ppl_6db806; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_axb_datasets = _configs.paper("axb")
del _configs
