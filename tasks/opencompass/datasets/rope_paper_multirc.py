"""SuperGLUE_MultiRC_ppl_ced824; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_multirc_datasets = _configs.paper("multirc")
del _configs
