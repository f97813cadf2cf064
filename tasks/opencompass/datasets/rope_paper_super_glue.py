"""group super_glue; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_super_glue_datasets = _configs.paper("super_glue")
del _configs
