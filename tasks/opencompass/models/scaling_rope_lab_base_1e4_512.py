"""lab/base-1e4-512; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("lab/base-1e4-512")
del _configs
