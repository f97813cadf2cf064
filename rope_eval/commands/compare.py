"""``rope-eval compare``: runs against a baseline, with uncertainty."""

from __future__ import annotations

import argparse
import json
import math
import sys

from rope_eval.commands.options import add_choice, add_shared
from rope_eval.commands.showing import show
from rope_eval.commands.store import open_store
from rope_eval.errors import DataError, SpecError
from rope_eval.safe_text import shown
from rope_eval.terminal import remark

EPILOG = """\
examples:
  rope-eval compare llama2-7b/base-500 --baseline "paper:LLaMA2 7B/base=10000"
  rope-eval compare "lab/*" --baseline lab/pretrained --columns perplexity --lengths 512,1k
  rope-eval compare 3f2a --baseline llama2-7b/plain --format markdown
  rope-eval compare mine/new --baseline mine/old --fail-if-worse 1.5

A run is a key (or the beginning of one), a row of the catalogue or of a table of runs, or a pattern
of rows. Scores are in percent, differences in points; perplexity is compared by nats a token, over
the documents that both have. * marks a difference whose 95 % interval leaves out zero: a paired
bootstrap where both have the same items or documents, else binomial. What was not asked alike
(few-shot, version, templates, truncation, protocol, probes) is not compared. --fail-if-worse makes
the exit status 1, for CI.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="runs against a baseline, with 95 %% intervals",
        description="Print for every column the difference to a baseline, and whether it is "
        "beyond noise.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run's key, or rows that were measured")
    add("--baseline", required=True, metavar="NAME", help="paper:LLaMA2 7B/ROW, or as RUN")
    add("--protocol", default="paper", choices=("paper", "lm_eval", "leval"))
    add_choice(parser, rows=False)
    add("--allow-unlike", action="store_true", help="compare what was not asked alike too")
    for name, metavar, what in (
        ("--fail-if-worse", "POINTS", "percentage points"),
        ("--fail-if-worse-nats", "NATS", "nats a token of perplexity"),
    ):
        words = f"exit 1 where a column of any run is worse by more than so many {what}"
        add(name, type=float, metavar=metavar, help=words)
    add(
        "--format",
        metavar="FORMAT",
        help="text (default), markdown, csv, latex, html, or json, which has everything",
    )
    add("--json", action="store_const", dest="format", const="json", help="same as --format json")
    add_shared(parser, "--results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the comparisons; return the exit status, 1 where a run is worse than allowed.

    Raises:
        SpecError: for points below zero, a column that is not there, or a row that the paper does
            not have.
        DataError: for a name that no run has, or nothing to compare.
        StoreError: for runs that cannot be read; one that is damaged is named, and left out.
    """
    points, nats = args.fail_if_worse, args.fail_if_worse_nats
    for option, limit, unit in (("", points, "points"), ("-nats", nats, "nats")):
        if limit is not None and not (limit >= 0 and math.isfinite(limit)):
            raise SpecError(f"--fail-if-worse{option} must be 0 or more {unit}, got {limit}")

    from rope_eval.report.choice import Choice
    from rope_eval.report.compare import Comparison, compare
    from rope_eval.report.compared import compared_table, facts_of
    from rope_eval.report.sides import side, sides

    store = open_store(args.results)
    choice = Choice(columns=args.columns, lengths=args.lengths)
    baseline = side(args.baseline, store, args.protocol).chosen(choice)
    runs = sides(args.runs, store, args.protocol, args.baseline)
    found: list[Comparison] = []
    for one in runs:
        try:
            found.append(compare(one, baseline, allow_unlike=args.allow_unlike))
        except DataError as error:
            if one.name in args.runs or len(runs) == 1:
                raise
            remark(f"rope-eval: left out: {error}")  # one of a pattern
    if not found:
        raise DataError(f"{', '.join(args.runs)}: no row has a column in common with the baseline")
    worse = {c.run: c.worse(points, nats) for c in found}
    if args.format == "json":
        facts = [facts_of(c) | {"worse": worse[c.run]} for c in found]
        print(json.dumps({"protocol": args.protocol, "comparisons": facts}, indent=2))
    else:
        show(compared_table(found, args.protocol), args.format or "text")
    limits = [f"{points:g} points"] if points is not None else []
    limits += [f"{nats:g} nats"] if nats is not None else []
    for name, columns in worse.items() if args.format != "json" else ():
        if columns:
            than = " or ".join(limits)
            print(
                f"\n{shown(name)} is worse by more than {than}: {', '.join(columns)}",
                file=sys.stdout if args.format in (None, "text", "markdown") else sys.stderr,
            )
    return 1 if any(worse.values()) else 0
