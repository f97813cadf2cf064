"""What a metric is by its name, such as ``perplexity@4096,none`` or ``acc_norm,none``."""

from __future__ import annotations


def plain(metric: str) -> str:
    """Return a metric without its length, and without its filter where that is none.

    >>> plain("accuracy@4096,none"), plain("exact_match,strict-match"), plain("8192,none")
    ('accuracy', 'exact_match,strict-match', 'score')
    """
    name, _, kind = metric.partition(",")
    name = "score" if name.isdecimal() else name.partition("@")[0]  # RULER's are lengths
    return name if kind in ("", "none") else f"{name},{kind}"
