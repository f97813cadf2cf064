"""Tables of curves and of attention scores, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate


def curve_table(curve: Mapping[str, Any]) -> str:
    """Return a curve, a length a row, as aligned text.

    Args:
        curve: facts as `rope_eval.runner.curve` returns them.
    """
    rows = zip(curve["lengths"], curve["perplexity"], curve["accuracy"], strict=True)
    return tabulate(
        [[length, number(perplexity), f"{accuracy:.4f}"] for length, perplexity, accuracy in rows],
        headers=["length", "perplexity", "accuracy"],
        disable_numparse=True,
        colalign=("right", "right", "right"),
    )


def comparison_table(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a paper-style table: a model a row, a length a column, its bound in between.

    A cell past the bound, where the law expects the curve to break, is in brackets.

    Args:
        curves: facts as `rope_eval.runner.curve` returns them, by the name of the row; all of the
            same lengths.
    """
    rows = []
    for name, curve in curves.items():
        bound = curve["extrapolation_bound"]
        cells = [
            f"({number(p)})" if bound is not None and length > bound else f"{number(p)} "
            for length, p in zip(curve["lengths"], curve["perplexity"], strict=True)
        ]
        rows.append([name, "" if bound is None else f"{bound:.0f}", *cells])
    lengths = next(iter(curves.values()))["lengths"]
    return tabulate(
        rows,
        headers=["model", "bound", *(f"{n} " for n in lengths)],
        disable_numparse=True,
        colalign=("left", *["right"] * (len(lengths) + 1)),
    )


def attention_table(facts: Mapping[str, Any]) -> str:
    """Return mean and standard deviation of both parts of the score, a bin a row.

    Args:
        facts: what `rope-eval attention --json` prints.
    """
    rows = []
    for bin_ in facts["bins"]:
        first, last = bin_["from"], bin_["to"]
        rows.append(
            [
                str(first) if first == last else f"{first} … {last}",
                str(bin_["count"]),
                *(
                    f"{bin_[part][kind]:.3f}"
                    for part in ("before", "beyond")
                    for kind in ("mean", "std")
                ),
            ]
        )
    before, beyond = (f"dims {words}" for words in dimensions(facts))
    return tabulate(
        rows,
        headers=["distance", "scores", before, "std", beyond, "std"],
        disable_numparse=True,
        colalign=("right",) * 6,
    )


def dimensions(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return the dimensions of both parts, counted from 1 in pairs' order, as the paper counts.

    >>> dimensions({"critical_dimension": 92, "rotary_dim": 128})
    ('1 … 92', '93 … 128')
    """
    critical, rotary = facts["critical_dimension"], facts["rotary_dim"]
    return f"1 … {critical}", f"{critical + 1} … {rotary}" if critical < rotary else "none"


def number(value: float) -> str:
    """Return a perplexity as the paper prints it: two decimals, and > 10³ where it has exploded.

    >>> number(7.254), number(23456.0)
    ('7.25', '> 10^4')
    """
    if value < 1000:
        return f"{value:.2f}"
    return "inf" if math.isinf(value) else f"> 10^{math.floor(math.log10(value))}"
