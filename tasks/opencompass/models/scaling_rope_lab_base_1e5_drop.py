"""lab/base-1e5-drop; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
models = _configs.models("lab/base-1e5-drop")
del _configs
