"""What a metric is by its name, such as ``perplexity@4096,none`` or ``acc_norm,none``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from rope_eval.lengths import parse_length

MEASUREMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "longbench": ("longbench*",),  # one of its tasks is called a retrieval
        "ruler": ("ruler*", "niah_*"),
        "babilong": ("babilong*",),
        "infinitebench": ("infinitebench*",),  # two of its tasks are called a retrieval
        "graphwalks": ("graphwalks*",),
        "nolima": ("nolima*",),
        "helmet": ("helmet*",),
        "retrieval": ("*retrieval*",),
        "perplexity": ("*cumulative*", "perplexity_*"),
    }
)
"""The patterns of the tasks that a measurement has; the first that matches counts."""
OTHER = "task"
NOT_RUN = -1
"""What RULER writes for a length that was not run."""

# perplexity@4096; accuracy_depth_0.5@4096; of RULER 4096
_LENGTH = re.compile(r"([a-z_]+([0-9.]+)?@)?([0-9]{1,15})")
_BABILONG = re.compile("[1-9][0-9]{0,5}[kKmM]")
_FRACTION = re.compile(r"acc(uracy)?\b|acc(uracy_depth)?_|exact_match|greedy@|[0-9]+(,|$)")
_LOWEST = re.compile(r"nll|loss|bits_per_byte|(word_|byte_)?perplexity|brier_score|[tw]er$")


def measurement_of(task: str) -> str:
    """Return what a task measures, one of `MEASUREMENTS` or `OTHER`.

    >>> measurement_of("niah_single_1"), measurement_of("longbench_passage_retrieval_en")
    ('ruler', 'longbench')
    >>> measurement_of("infinitebench_kv_retrieval"), measurement_of("perplexity_sliding")
    ('infinitebench', 'perplexity')
    """
    for name, patterns in MEASUREMENTS.items():
        if any(fnmatchcase(task, pattern) for pattern in patterns):
            return name
    return OTHER


def plain(metric: str) -> str:
    """Return a metric without its length, and without its filter where that is none.

    >>> plain("accuracy@4096,none"), plain("exact_match,strict-match"), plain("8192,none")
    ('accuracy', 'exact_match,strict-match', 'score')
    """
    name, _, kind = metric.partition(",")
    name = "score" if is_of_ruler(metric) else name.partition("@")[0]
    return name if kind in ("", "none") else f"{name},{kind}"


def length_of(metric: str) -> int | None:
    """Return the length that a metric is of, in tokens.

    >>> length_of("perplexity@4096,none"), length_of("8192,none"), length_of("score@8k+,none")
    (4096, 8192, None)
    >>> length_of("accuracy_depth_0.25@4096,none")
    4096
    """
    found = _LENGTH.fullmatch(metric.partition(",")[0])
    return int(found[3]) if found else None


def length_of_task(task: str, metadata: Mapping[str, Any]) -> int | None:
    """Return the length in tokens that all of a task's items have by its metadata, or None.

    BABILong's metrics do not say which of its lengths was run, which has the form ``8k``.

    >>> length_of_task("babilong_qa1", {"max_seq_lengths": "8k"})
    8192
    >>> length_of_task("babilong_qa1", {"max_seq_lengths": "0k"})  # the facts alone
    >>> length_of_task("ruler_vt", {"max_seq_lengths": [4096]})
    """
    given = metadata.get("max_seq_lengths")
    if measurement_of(task) != "babilong" or not isinstance(given, str):
        return None
    found = _BABILONG.fullmatch(given)
    return parse_length(given) if found else None


def at(part: object, metric: str) -> str:
    """Return the name of a metric of a part of the items, or of a length.

    >>> at("8k+", "score,none"), at(8192, "acc,none")
    ('score@8k+,none', 'acc@8192,none')
    """
    name, comma, kind = metric.partition(",")
    return f"{name}@{part}{comma}{kind}"


def part_of(metric: str) -> str | None:
    """Return the part of a task's items that a metric is of, where that is no length in tokens.

    >>> part_of("score@0-4k,none"), part_of("accuracy@4096"), part_of("acc,none")
    ('0-4k', None, None)
    """
    part = metric.partition(",")[0].partition("@")[2]
    return part if part and length_of(metric) is None else None


def is_of_ruler(metric: str) -> bool:
    """Return whether a metric is one of RULER's, which are called as their lengths."""
    return metric.partition(",")[0].isdecimal()


def is_fraction(metric: str) -> bool:
    """Return whether a metric is the part of the items that are right."""
    return _FRACTION.match(metric) is not None


def better(metric: str, higher: bool | None = None) -> str | None:
    """Return which way a metric is better: ``higher``, ``lower``, or None where that is not known.

    Args:
        metric: its name.
        higher: what the results say, if they do.
    """
    if higher is None and (is_fraction(metric) or _LOWEST.match(plain(metric))):
        higher = is_fraction(metric)
    return None if higher is None else "higher" if higher else "lower"


def part_of_item(task: str, item: Any) -> str | None:
    """Return the part of a task that an item belongs to, by its length, or None.

    LongBench-E has three, by words or Chinese characters (arXiv 2308.14508, section 3.3), and
    LongBench v2 says itself which an item is of (arXiv 2412.15204).

    >>> part_of_item("longbench_qasper_e", {"length": 4000})
    '4-8k'
    >>> part_of_item("longbench2_table", {"length": "medium"})
    'medium'
    """
    length = item.get("length") if isinstance(item, dict) else None
    if task.startswith("longbench2") and length in ("short", "medium", "long"):
        return str(length)
    if not (task.startswith("longbench_") and task.endswith("_e") and type(length) is int):
        return None
    return "0-4k" if length < 4000 else "4-8k" if length < 8000 else "8k+"
