"""llama2-7b/base-500-16k; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
models = _configs.models("llama2-7b/base-500-16k")
del _configs
