"""Attention scores by relative position, as a table and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate


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
                *(f"{bin_[part][kind]:.3f}" for part in _PARTS for kind in ("mean", "std")),
            ]
        )
    before, beyond = (f"dimensions {words}" for words in _dimensions(facts))
    return tabulate(
        rows,
        headers=["relative position", "scores", before, "std", beyond, "std"],
        disable_numparse=True,
        colalign=("right",) * 6,
    )


def plot_attention(facts: Mapping[str, Any], file: Path) -> None:
    """Draw the mean scores of both parts, as in Figs. 6, 8 and 10 of arXiv 2310.05209.

    Args:
        facts: what `rope-eval attention --json` prints.
        file: the figure to write; its suffix says the format.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    bins = facts["bins"]
    at = [math.sqrt(bin_["from"] * bin_["to"]) for bin_ in bins]
    for axes, part, words in zip(panels, _PARTS, _dimensions(facts), strict=True):
        mean, std = ([bin_[part][kind] for bin_ in bins] for kind in ("mean", "std"))
        axes.fill_between(
            at,
            [m - s for m, s in zip(mean, std, strict=True)],
            [m + s for m, s in zip(mean, std, strict=True)],
            alpha=0.2,
            label="± 1 standard deviation",
        )
        axes.plot(at, mean, marker="o", ms=3, label="mean")
        for length, style, label in (
            (facts["train_length"], "-", "$T_{train}$"),
            (facts["extrapolation_bound"], ":", "predicted bound $T_{extra}$"),
        ):
            if length <= bins[-1]["to"]:
                axes.axvline(length, color="black", ls=style, lw=1, label=label)
        axes.set(title=f"dimensions {words}", ylabel="attention score")
        axes.grid(alpha=0.3)
    panels[0].legend()
    panels[1].set_xscale("symlog", base=2, linthresh=1)
    panels[1].set_xlim(0, bins[-1]["to"] + 1)
    panels[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[1].set_xlabel("relative position")
    figure.suptitle(f"{facts['model']}, rope: {facts['setting']}")
    figure.savefig(file, dpi=120)


_PARTS = ("before", "beyond")


def _dimensions(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return the dimensions of both parts, counted from 1 in pairs' order, as the paper counts."""
    critical, rotary = facts["critical_dimension"], facts["rotary_dim"]
    return f"1 … {critical}", f"{critical + 1} … {rotary}" if critical < rotary else "none"
