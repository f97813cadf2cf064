"""llama2-13b/base-160000; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
models = _configs.models("llama2-13b/base-160000")
del _configs
