"""llama2-13b/pi-4; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
models = _configs.models("llama2-13b/pi-4")
del _configs
