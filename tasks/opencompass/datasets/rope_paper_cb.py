"""SuperGLUE_CB_ppl_0143fe; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_cb_datasets = _configs.paper("cb")
del _configs
