"""SuperGLUE_AX_g_ppl_66caf3; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_axg_datasets = _configs.paper("axg")
del _configs
