"""A plan that checks an `Advice`: what `rope-eval run` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rope_eval.advice.advice import Advice

BUILTIN_REACHES = 1 << 16
"""Tokens up to which the built-in book is long enough, whatever the tokenizer."""

DOCUMENTS, SAMPLES = 5, 20


def plan_text(
    advice: Advice,
    model: Mapping[str, str],
    given: Mapping[str, Any],
    books: str | None = None,
) -> str:
    """Return a plan: the checkpoint as it is and under each method, by perplexity and retrieval.

    Args:
        advice: what there is to say.
        model: ``model`` or ``row`` of the plan's entry.
        given: fields that say how the checkpoint was trained, for each setting.
        books: of the perplexity; by default the built-in one as far as it reaches, else PG-19.
    """
    lengths = _octaves(advice.tuned_at, advice.target)
    source = books or ("builtin" if advice.target <= BUILTIN_REACHES else "pg19")
    few = {} if source == "builtin" else {"docs": DOCUMENTS}
    fields = [dict(part.split("=") for part in one.setting.split(",")) for one in advice.untuned]
    settings = [dict(given) | _plain(one) for one in ({}, *fields)]
    plan = {
        "models": [dict(model)],
        "settings": settings,
        "measurements": [
            {"perplexity": {"books": source, "lengths": lengths} | few},
            {"retrieval": {"lengths": [*lengths], "depths": [0, 0.5], "samples": SAMPLES}},
        ],
    }
    tuned = f"a tuning with rope_theta {advice.tuning.base:g} at {advice.tuning.length} tokens"
    return (
        f"# Does it hold {advice.target} tokens? Written by `rope-eval advise`.\n"
        f"# After {tuned}, add the new directory to the models.\n"
        + yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, default_flow_style=None)
    )


def _plain(fields: Mapping[str, str]) -> dict[str, Any]:
    return {name: yaml.safe_load(value) for name, value in fields.items()}


def _octaves(shortest: int, longest: int) -> list[int]:
    """Return a length, its doubles below another, and that.

    >>> _octaves(4096, 20000)
    [4096, 8192, 16384, 20000]
    """
    found = []
    while shortest < longest:
        found.append(shortest)
        shortest *= 2
    return [*found, longest]
