"""What the laws' numbers mean for someone who has the model, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def meaning(facts: Mapping[str, Any], doubt: str) -> str:
    """Return what to expect, and what to do.

    Args:
        facts: what `rope-eval theory --json` prints.
        doubt: why there is no bound, or empty.
    """
    return " ".join(_sentences(facts, doubt))


def _sentences(facts: Mapping[str, Any], doubt: str) -> Iterator[str]:
    base, train, tune = facts["rope_theta"], facts["train_length"], facts["tune_length"]
    tuned = f"After tuning on {tune} tokens" if tune != train else f"Trained on {train} tokens"
    if base != facts["pretrain_theta"]:
        tuned = f"After tuning on {tune} tokens with a base of {base:.10g}"
    bound = facts["extrapolation_bound"]
    if doubt:
        yield (
            "The laws tell no length here: measure it with `rope-eval ppl`, and read it with "
            "`rope-eval context`."
        )
    elif base > facts["critical_base"]:
        yield (
            f"{tuned}, the perplexity should hold to about {bound:.0f} tokens "
            f"({bound / train:.2g} times the pre-training's) and rise steeply beyond."
        )
    elif base < facts["pivot_bases"][0]:
        yield (
            f"{tuned}, the perplexity should hold past {bound:.0f} tokens and rise slowly, but "
            "what stands far back is hard to find with so small a base."
        )
    else:
        yield (
            f"{tuned}, the perplexity should hold to {bound:.0f} tokens and rise steeply beyond; "
            f"only tuning with a base above {facts['critical_base']:.0f} moves that."
        )
    target = facts.get("target_length")
    if target is None:
        return
    first, lower = facts["first_negative"], facts["base_lower_bound"]
    needed = max(facts["smallest_base"], lower or 0)
    if not doubt and bound >= target and first is None:
        yield f"That is enough for {target} tokens, for perplexity and for retrieval."
        return
    lacking = []
    if not doubt and bound < target:
        lacking.append("its perplexity will not hold that far")
    if first is not None:
        lacking.append(f"retrieval is at risk from {first} tokens on")
    if lacking:
        yield f"For {target} tokens this base falls short: {', and '.join(lacking)}."
        tune = f"Tune with {needed:.3g} or more" if needed > base else "Another base may do"
        yield f"{tune}: `rope-eval advise` has the command."
