"""SuperGLUE_COPA_ppl_9f3618; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_copa_datasets = _configs.paper("copa")
del _configs
