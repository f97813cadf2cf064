"""piqa_ppl_1cf9f0; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_piqa_datasets = _configs.paper("piqa")
del _configs
