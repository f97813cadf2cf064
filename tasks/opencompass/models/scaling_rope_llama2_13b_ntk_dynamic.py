"""llama2-13b/ntk-dynamic; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("llama2-13b/ntk-dynamic")
del _configs
