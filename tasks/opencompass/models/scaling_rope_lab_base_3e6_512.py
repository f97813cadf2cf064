"""lab/base-3e6-512; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("lab/base-3e6-512")
del _configs
