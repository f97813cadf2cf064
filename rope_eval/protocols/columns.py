"""Which tasks make which column of Tables 3 to 5, by protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.tasks import MMLU, OWN_PROTOCOLS, tasks_of

PROTOCOLS = ("paper", "lm_eval", "leval")


def _own(protocol: str) -> dict[str, tuple[str, ...]]:
    columns: dict[str, tuple[str, ...]] = {}
    for entry, strings in PROMPTS[protocol].items():
        names = tuple(task.name for task in tasks_of(protocol, entry))
        columns[strings["column"]] = columns.get(strings["column"], ()) + names
    return columns


TASKS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "paper": _own("paper"),
        "leval": _own("leval"),
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

ITEMS: Mapping[str, int] = MappingProxyType(
    {
        "Lambada": 5153,
        "SuperGLUE": 20753,
        "Hellaswag": 10042,
        "PIQA": 1838,
        "Winogrande": 1267,
        "OBQA": 500,
        "NQ": 3610,
        "TriviaQA": 8837,
        "TruthfulQA": 684,
        "ARC-e": 567,
        "ARC-c": 295,
        "MMLU": 14042,
        "GSM": 100,
        "TOEFL": 269,
        "TopicRet": 150,
        "QuALITY": 202,
        "Coursera": 172,
    }
)
"""How many items a column has by the protocols of the paper and of L-Eval, all parts together.

Those of Hellaswag, and of the parts of SuperGLUE and MMLU, are the data sets'; the others follow
from the printed scores, see docs/paper-tables.md.
"""

_STOCK_METRICS = {"hellaswag": "acc_norm,none", "record": "f1,none"} | dict.fromkeys(
    ("nq_open", "triviaqa"), "exact_match,remove_whitespace"
)


def protocol_of(task: str) -> str:
    """Return the protocol of a task by its name: those of ours begin with it."""
    return next((p for p in OWN_PROTOCOLS if task.startswith(f"rope_{p}_")), "lm_eval")


def metric_of(task: str) -> str:
    """Return the metric of a task that its column takes."""
    return _STOCK_METRICS.get(task, "acc,none")
