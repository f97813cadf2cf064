"""SuperGLUE_ReCoRD_gen_30dea0; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_record_datasets = _configs.paper("record")
del _configs
