"""SuperGLUE_CB_ppl_0143fe; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_cb_datasets = _configs.paper("cb")
del _configs
