"""truthfulqa; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_truthfulqa_datasets = _configs.paper("truthfulqa")
del _configs
