"""llama2-7b/base-400000; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("llama2-7b/base-400000")
del _configs
