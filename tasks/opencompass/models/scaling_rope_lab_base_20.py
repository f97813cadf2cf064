"""lab/base-20; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
models = _configs.models("lab/base-20")
del _configs
