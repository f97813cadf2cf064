"""leval_topic_retrieval_gen_bf433f; written by rope_eval.harness.opencompass_configs."""

_configs = __import__("rope_eval.harness.opencompass_configs", fromlist=["files"])
rope_paper_topicret_datasets = _configs.paper("topicret")
del _configs
