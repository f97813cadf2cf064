"""group short; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_short_datasets = _configs.paper("short")
del _configs
