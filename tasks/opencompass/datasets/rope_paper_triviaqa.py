"""triviaqa_gen_2121ce; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_triviaqa_datasets = _configs.paper("triviaqa")
del _configs
