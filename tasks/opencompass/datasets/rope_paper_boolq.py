"""SuperGLUE_BoolQ_ppl_314b96; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_boolq_datasets = _configs.paper("boolq")
del _configs
