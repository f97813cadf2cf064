"""lambada_gen_217e11; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_lambada_datasets = _configs.paper("lambada")
del _configs
