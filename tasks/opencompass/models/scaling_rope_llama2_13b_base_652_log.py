"""llama2-13b/base-652-log; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("llama2-13b/base-652-log")
del _configs
