"""An `Advice` in words."""

from __future__ import annotations

from rope_eval.advice.advice import Advice, Tuning

WINDOW_TOKENS = 1000 * 524_288
"""Tokens of B.1's tuning, arXiv 2310.05209, which `rope-eval tune` does by default."""


def paragraphs(advice: Advice, model: str) -> list[str]:
    """Return what to read, a paragraph each.

    Args:
        advice: what there is to say.
        model: how the checkpoint is named on the command line.
    """
    found = [_as_it_is(advice), _bounds(advice)]
    if advice.perplexity_holds and advice.retrieval_holds:
        return [*found, "Nothing is to be done. Measure it: neither law is a promise."]
    found += [_tuning(advice, model)]
    if advice.small_tuning is not None:
        found.append(_small(advice, advice.small_tuning))
    if advice.untuned:
        found.append(_untuned(advice))
    return found


def _as_it_is(a: Advice) -> str:
    trained = f"pre-trained at {a.train_length} tokens with a base of {a.pretrain_theta:g}"
    if a.tuned_at != a.train_length or a.base != a.pretrain_theta:
        trained += f", tuned at {a.tuned_at} with {a.base:g}"
    reaches = "reaches" if a.perplexity_holds else "does not reach"
    retrieval = (
        f"B(m) ≥ 0 up to {a.target}"
        if a.first_negative is None
        else f"B(m) < 0 from {a.first_negative} tokens on"
    )
    return (
        f"As it is: {trained}. Its extrapolation bound is {a.bound:.0f} tokens, which {reaches} "
        f"{a.target}; with its base {retrieval}."
    )


def _bounds(a: Advice) -> str:
    return (
        f"Two bounds on the base for {a.target} tokens. {a.extrapolating_base:.3g} (arXiv "
        "2310.05209, Eq. 6): from there on T_extra reaches it, which governs how far the "
        f"perplexity holds where the tuning is shorter. {a.feasible_base:.3g} (arXiv 2405.14591): "
        "the least with B(m) ≥ 0, which governs retrieval: a model below it can keep a low "
        "perplexity and not find what stands far back."
    )


def _tuning(a: Advice, model: str) -> str:
    t = a.tuning
    if t.length >= a.target:
        why = (
            f"the windows are as long as the target, so Theorem 3 gives T_extra = {t.bound:.0f} "
            "and retrieval alone asks for a base"
            if t.base <= a.critical_base
            else "the windows are as long as the target, so retrieval alone asks for one; T_extra "
            f"is then {t.bound:.0f}"
        )
    else:
        why = (
            f"the larger of both, up to where the bases to ten times as much have B(m) ≥ 0, and "
            f"above the critical base of {a.critical_base:.3g}; T_extra is then {t.bound:.0f}"
        )
    command = (
        f"rope-eval tune --model {model} --text SRC --rope-theta {t.base:g} "
        f"--tune-length {t.length} --rope "
        f"train_length={a.train_length},pretrain_theta={a.pretrain_theta:g}"
    )
    return (
        f"The base to take: {t.base:g} ({why}). It needs a tuning: by Appendix B.1 of "
        f"arXiv 2310.05209 1000 steps, {WINDOW_TOKENS / 1e9:.2f} billion tokens, in windows of "
        f"{t.length}:\n  {command}"
    )


def _small(a: Advice, t: Tuning) -> str:
    risk = (
        f"B(m) < 0 from {t.first_negative} tokens on, so expect no retrieval"
        if t.first_negative is not None
        else "B(m) ≥ 0"
    )
    return (
        f"Or a small base: {t.base:g} in the same windows. Every pair then turns fully in them, "
        f"and the perplexity holds on past T_extra = {t.bound:.0f}, no law says how far (Theorem "
        f"1); but {risk}."
    )


def _untuned(a: Advice) -> str:
    lines = [
        f"  --rope {one.setting}  ({one.method}, {_first(one.source)}"
        + ("" if one.served else "; not on vLLM")
        + ")"
        for one in a.untuned
    ]
    return "\n".join(
        [
            f"Without tuning, at their authors' sizes for {a.tuned_at} to {a.target} tokens; how "
            "far each goes on your model is to be measured (docs/methods.md has a small one's):",
            *lines,
        ]
    )


def _first(source: str) -> str:
    """Return the first of a method's sources, without what is said of it.

    >>> _first("arXiv 2309.00071; jquesnelle/yarn"), _first("Su, a/b, without the log scale")
    ('arXiv 2309.00071', 'Su, a/b')
    """
    return source.split(";", maxsplit=1)[0].split(", without", maxsplit=1)[0]
