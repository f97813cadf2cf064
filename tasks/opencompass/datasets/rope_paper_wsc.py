"""SuperGLUE_WSC_ppl_003529; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_wsc_datasets = _configs.paper("wsc")
del _configs
