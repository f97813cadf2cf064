"""llama2-13b/base-80000-16k; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("llama2-13b/base-80000-16k")
del _configs
