"""``rope-eval compare``: runs against a baseline, with uncertainty."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import add_shared
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    from rope_eval.report.compare import Comparison

_BEFORE_HOW = 66  # characters that the other columns of a comparison take
EPILOG = """\
examples:
  rope-eval compare llama2-7b/base-500 --baseline "paper:LLaMA2 7B/base=10000"
  rope-eval compare 3f2a --baseline llama2-7b/plain --format markdown
  rope-eval compare mine/new --baseline mine/old --fail-if-worse 1.5   # in CI: exit 1

A run is a key (or the beginning of one) of `rope-eval import`, or a row of the catalogue or of a
table of runs. * marks a difference whose 95 % interval leaves out zero: a paired bootstrap where
both have the samples of the same items, else binomial.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="runs against a baseline, published or measured, with 95 %% intervals",
        description="Print for every column the difference to a baseline, and whether it is "
        "beyond noise.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run's key, or a row that was measured")
    add("--baseline", required=True, metavar="NAME", help="paper:LLaMA2 7B/ROW, or as RUN")
    add("--protocol", default="paper", choices=("paper", "lm_eval", "leval"))
    add(
        "--fail-if-worse",
        type=float,
        metavar="POINTS",
        help="exit 1 where a column of any run is worse by more than so many points",
    )
    add("--format", default="text", choices=("text", "markdown", "json"))
    add("--json", action="store_const", dest="format", const="json", help="same as --format json")
    add_shared(parser, "--results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the comparisons; return the exit status, 1 where a run is worse than allowed.

    Raises:
        SpecError: for points below zero, or a row that the paper does not have.
        DataError: for a name that no run has, or nothing to compare.
        StoreError: for runs that cannot be read; one that is damaged is named, and left out.
    """
    points: float | None = args.fail_if_worse
    if points is not None and not (points >= 0 and math.isfinite(points)):
        raise SpecError(f"--fail-if-worse must be 0 or more points, got {points}")

    from rope_eval.report.compare import compare, side

    store = open_store(args.results)
    baseline = side(args.baseline, store, args.protocol)
    found = [compare(side(name, store, args.protocol), baseline) for name in args.runs]
    worse = {} if points is None else {c.run: c.worse(points) for c in found if c.worse(points)}
    if args.format == "json":
        facts = [_facts(c) | {"worse": worse.get(c.run, [])} for c in found]
        print(json.dumps({"protocol": args.protocol, "comparisons": facts}, indent=2))
    else:
        style = "pipe" if args.format == "markdown" else "simple"
        print("\n\n".join(_text(c, style, args.protocol) for c in found))
        for name, columns in worse.items():
            print(f"\n{shown(name)} is worse by more than {points:g} points: {', '.join(columns)}")
    return 1 if worse else 0


def _facts(comparison: Comparison) -> dict[str, Any]:
    return {
        "run": comparison.run,
        "baseline": comparison.baseline,
        "columns": [
            {
                "column": d.column,
                "baseline": d.baseline,
                "run": d.score,
                "difference": d.points,
                "interval": None if d.interval is None else list(d.interval),
                "beyond_noise": d.beyond_noise,
                "method": d.method,
                "notes": list(d.notes),
            }
            for d in comparison.differences
        ],
        "not_compared": dict(comparison.not_compared),
    }


def _text(comparison: Comparison, style: str, protocol: str) -> str:
    from tabulate import tabulate

    from rope_eval.report.terminal import terminal_width

    width = terminal_width() if style == "simple" else None
    wide = 10**6 if width is None else max(width - _BEFORE_HOW, 16)
    lines = [
        (
            d.column,
            f"{d.baseline:.2f}",
            f"{d.score:.2f}",
            f"{d.points:+.2f}",
            "" if d.interval is None else f"{d.interval[0]:+.2f} … {d.interval[1]:+.2f}",
            "*" if d.beyond_noise else "",
            textwrap.fill(shown("; ".join((d.method, *d.notes))), wide),
        )
        for d in comparison.differences
    ]
    grid = tabulate(
        lines,
        headers=["column", "baseline", "run", "difference", "95 % interval", "*", "how"],
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right", "left", "left"),
    )
    names = shown(f"{comparison.run} against {comparison.baseline}")
    title = f"{names}, protocol {protocol}, in percent"
    missing: dict[str, list[str]] = {}
    for column, why in comparison.not_compared.items():
        missing.setdefault(why, []).append(column)
    lost = [
        shown(f"not compared: {', '.join(columns)} ({why})") for why, columns in missing.items()
    ]
    return "\n\n".join([title, grid, *(["\n".join(lost)] if lost else [])])
