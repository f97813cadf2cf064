"""leval_topic_retrieval_gen_bf433f; written by rope_eval.hosts.opencompass.configs."""

_configs = __import__("rope_eval.hosts.opencompass.configs", fromlist=["files"])
rope_paper_topicret_datasets = _configs.paper("topicret")
del _configs
