"""RULER's mean over its tasks, and the length that a model holds by it (arXiv 2404.06654)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rope_eval.errors import SpecError
from rope_eval.report.measured import length_text
from rope_eval.results.metrics import is_of_ruler

TASKS = (
    *("niah_single_1", "niah_single_2", "niah_single_3"),
    *("niah_multikey_1", "niah_multikey_2", "niah_multikey_3"),
    *("niah_multiquery", "niah_multivalue"),
    *("ruler_vt", "ruler_cwe", "ruler_fwe", "ruler_qa_squad", "ruler_qa_hotpot"),
)
"""The tasks of lm-eval's group ``ruler``, those of the paper's Table 5."""
MEAN = f"mean of {len(TASKS)} tasks"
THRESHOLD = 85.6
"""Percent: what Llama-2-7B (chat) has at 4K, its own training length (Table 3)."""

Line = Mapping[str, Any]


def check_threshold(percent: float) -> float:
    """Return a threshold in percent; `SpecError` for one that is none."""
    if not 0 < percent < 100:
        raise SpecError(f"RULER's threshold is a percentage between 0 and 100, got {percent:g}")
    return percent


def effective_length(scores: Mapping[int, float], threshold: float = THRESHOLD) -> int | None:
    """Return the longest length whose score exceeds the threshold, or None.

    A length below it that fails does not count against it, as in the paper.

    Args:
        scores: the means over all tasks by length in tokens, in percent.
        threshold: in percent.

    >>> gpt_4 = {4096: 96.6, 8192: 96.3, 16384: 95.2, 32768: 93.2, 65536: 87.0, 131072: 81.2}
    >>> effective_length(gpt_4)  # Table 3: 64K
    65536
    """
    return max((length for length, score in scores.items() if score > threshold), default=None)


def effective_text(scores: Mapping[int, float], threshold: float = THRESHOLD) -> str:
    """Return the effective length as a table has it.

    >>> effective_text({4096: 93.3, 8192: 85.0}), effective_text({4096: 93.3, 8192: 92.2})
    ('4K', 'at least 8K')
    >>> effective_text({4096: 82.3, 8192: 78.4})
    'below 4K'
    """
    found = effective_length(scores, threshold)
    if found is None:
        return f"below {length_text(min(scores))}"
    return f"{'at least ' if found == max(scores) else ''}{length_text(found)}"


def means(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return the mean over all tasks of each model and length, as lines of the frame.

    Args:
        lines: of the frame, each number once.

    Returns:
        A line where every task has a score; what its tasks' lines remark, it remarks too.
    """
    found: dict[tuple[Any, ...], dict[str, Line]] = {}
    for line in lines:
        if line["task"] in TASKS and is_of_ruler(line["metric"]) and line["value"] is not None:
            model = (line["row"], line["weights"], line["host"], line["length"])
            found.setdefault((*model, line["metric"]), {})[line["task"]] = line
    return [_mean(list(some.values())) for some in found.values() if len(some) == len(TASKS)]


def _mean(lines: Sequence[Line]) -> dict[str, Any]:
    shared = ("row", "weights", "host", "length", "metric", "measurement", "better", "protocol")
    first = lines[0]
    remarks = [f"{line['task']}: {line['remark']}" for line in lines if line["remark"]]
    return dict.fromkeys(first) | {
        **{name: first[name] for name in shared},
        "task": MEAN,
        "value": math.fsum(line["value"] for line in lines) / len(lines),
        "remark": ", ".join(remarks) or None,
    }
