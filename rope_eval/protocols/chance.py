"""What guessing scores: the share of right answers where each of a task's choices is as likely."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rope_eval.protocols.datasets import PROMPTS
from rope_eval.protocols.tasks import MMLU, OWN_PROTOCOLS, tasks_of

_LETTERS = MappingProxyType({"mmlu": 4, "toefl": 4, "quality": 4})
"""Choices of the own tasks that ask for one letter; Coursera asks for several."""
_STOCK = MappingProxyType(
    {"cb": 3, "hellaswag": 4, "openbookqa": 4, "arc_easy": 4, "arc_challenge": 4}
    | dict.fromkeys(("boolq", "copa", "multirc", "sglue_rte", "wic", "wsc"), 2)
    | dict.fromkeys(("piqa", "winogrande"), 2)
    | {f"mmlu_{subject}": 4 for subject in MMLU}
)
"""Choices of lm-eval's; a few items of ARC have three or five."""
_METRICS = ("acc", "acc_norm")


def _own() -> dict[str, int]:
    choices: dict[str, int] = {}
    for protocol in OWN_PROTOCOLS:
        for entry, strings in PROMPTS[protocol].items():
            count = len(strings.get("labels", ())) or _LETTERS.get(entry)
            if count:
                choices |= {task.name: count for task in tasks_of(protocol, entry)}
    return choices


CHOICES: Mapping[str, int] = MappingProxyType({**_STOCK, **_own()})
"""How many choices an item of a task has; tasks whose items differ in it are not here."""


def chance_of(task: str, metric: str) -> float | None:
    """Return what guessing scores in a metric of a task, or None where that is not known.

    >>> chance_of("piqa", "acc,none"), chance_of("rope_paper_cb", "acc,none")
    (0.5, 0.3333333333333333)
    >>> chance_of("triviaqa", "exact_match,none"), chance_of("piqa", "brier_score,none")
    (None, None)
    """
    choices = CHOICES.get(task)
    is_accuracy = metric.partition(",")[0] in _METRICS
    return 1 / choices if choices and is_accuracy else None
