"""Which tasks make which column of Tables 3 to 5, by protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PROTOCOLS = ("paper", "lm_eval", "leval")

SUPERGLUE = ("boolq", "cb", "copa", "multirc", "rte", "record", "wic", "wsc", "axb", "axg")
MMLU = (
    "abstract_algebra",
    "anatomy",
    "astronomy",
    "business_ethics",
    "clinical_knowledge",
    "college_biology",
    "college_chemistry",
    "college_computer_science",
    "college_mathematics",
    "college_medicine",
    "college_physics",
    "computer_security",
    "conceptual_physics",
    "econometrics",
    "electrical_engineering",
    "elementary_mathematics",
    "formal_logic",
    "global_facts",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_computer_science",
    "high_school_european_history",
    "high_school_geography",
    "high_school_government_and_politics",
    "high_school_macroeconomics",
    "high_school_mathematics",
    "high_school_microeconomics",
    "high_school_physics",
    "high_school_psychology",
    "high_school_statistics",
    "high_school_us_history",
    "high_school_world_history",
    "human_aging",
    "human_sexuality",
    "international_law",
    "jurisprudence",
    "logical_fallacies",
    "machine_learning",
    "management",
    "marketing",
    "medical_genetics",
    "miscellaneous",
    "moral_disputes",
    "moral_scenarios",
    "nutrition",
    "philosophy",
    "prehistory",
    "professional_accounting",
    "professional_law",
    "professional_medicine",
    "professional_psychology",
    "public_relations",
    "security_studies",
    "sociology",
    "us_foreign_policy",
    "virology",
    "world_religions",
)
_LEVAL = ("GSM", "TOEFL", "TopicRet", "QuALITY", "Coursera")
_SINGLE: tuple[str, ...] = (
    "Lambada",
    "Hellaswag",
    "PIQA",
    "Winogrande",
    "OBQA",
    "NQ",
    "TriviaQA",
    "TruthfulQA",
)
_SINGLE += ("ARC-e", "ARC-c", *_LEVAL)


def _ours(protocol: str, column: str) -> str:
    return f"rope_{protocol}_{column.lower().replace('-', '_')}"


TASKS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "paper": {column: (_ours("paper", column),) for column in _SINGLE}
        | {
            "SuperGLUE": tuple(f"rope_paper_{part}" for part in SUPERGLUE),
            "MMLU": tuple(f"rope_paper_mmlu_{subject}" for subject in MMLU),
        },
        "leval": {column: (_ours("leval", column),) for column in _LEVAL},
        "lm_eval": {
            "Lambada": ("lambada_openai",),
            "SuperGLUE": ("boolq", "cb", "copa", "multirc", "record", "sglue_rte", "wic", "wsc"),
            "Hellaswag": ("hellaswag",),
            "PIQA": ("piqa",),
            "Winogrande": ("winogrande",),
            "OBQA": ("openbookqa",),
            "NQ": ("nq_open",),
            "TriviaQA": ("triviaqa",),
            "TruthfulQA": ("truthfulqa_mc1",),
            "ARC-e": ("arc_easy",),
            "ARC-c": ("arc_challenge",),
            "MMLU": tuple(f"mmlu_{subject}" for subject in MMLU),
        },
    }
)
"""By protocol and column the tasks whose plain mean the column is."""

_STOCK_METRICS = {"hellaswag": "acc_norm,none", "record": "f1,none"} | dict.fromkeys(
    ("nq_open", "triviaqa"), "exact_match,remove_whitespace"
)


def protocol_of(task: str) -> str:
    """Return the protocol of a task by its name: those of ours begin with it."""
    return next((p for p in ("paper", "leval") if task.startswith(f"rope_{p}_")), "lm_eval")


def metric_of(task: str) -> str:
    """Return the metric of a task that its column takes."""
    return _STOCK_METRICS.get(task, "acc,none")
