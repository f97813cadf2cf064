"""``rope-eval table``: the tables of the paper, as published and as measured, and any other."""

from __future__ import annotations

import argparse

from rope_eval.commands.options import Rate, add_choice, add_shared
from rope_eval.commands.showing import show
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError

EPILOG = """\
examples:
  rope-eval table 3 --source paper
  rope-eval table 5 --source both --rows "base=500,base=10000*" --columns "GSM,TOEFL"
  rope-eval table perplexity --lengths 4k,16k --intervals
  rope-eval table perplexity --source both --rows "paper:LLaMA2 7B/*,lab/*"
  rope-eval table ruler --rows "lab/*" --format latex
  rope-eval table ruler --threshold 90           # of RULER's effective length
  rope-eval table "arc_*,piqa" --metric acc --format csv > arc.csv

1 to 5 and 3+4 are the paper's tables (arXiv 2310.05209), with its numbers, yours, or both; 3+4
joins two parts of one. perplexity and accuracy (of tokens), retrieval, ruler, longbench,
babilong, infinitebench, graphwalks, nolima, helmet, tasks (all) or names of tasks are of whatever
the store has of them, by length where they have one.
A cell that was not measured is blank, and the caption says why (with csv, standard error does).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "table",
        help="the paper's tables, published and measured, or any task",
        description="Print a table of the paper, with its numbers, with yours, or with both.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="of the paper, a measurement, or tasks: see below")
    add(
        "--source",
        choices=("paper", "runs", "both"),
        help="whose numbers: published, measured, or both and their difference (default: paper "
        "for its tables, runs for others)",
    )
    add("--metric", metavar="NAME", help="of tasks, the only one to show")
    add_choice(parser)
    add("--intervals", action="store_true", help="95 %% intervals beside the numbers")
    add(
        "--threshold",
        action=Rate,
        metavar="PERCENT",
        help="of ruler, what a mean over its 13 tasks must exceed for an effective length "
        "(default: the paper's 85.6)",
    )
    add("--protocol", default="paper", help="of measured scores: paper, lm_eval or leval")
    add_shared(parser, "--results")
    add(
        "--format",
        metavar="FORMAT",
        help="text (default on a terminal, as wide as it is), markdown (default elsewhere), csv, "
        "json, latex (booktabs) or html; in markdown and latex the best is bold",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; return the exit status.

    Raises:
        SpecError: there is no such table, protocol or format.
        DataError: the published numbers cannot be read, or nothing of the table was measured.
        StoreError: the runs cannot be read; one that is damaged is named, and left out.
    """
    from rope_eval.report import measured
    from rope_eval.report import published as paper
    from rope_eval.report.choice import Choice
    from rope_eval.report.runs import rows_of
    from rope_eval.report.stored import stored_table

    own = args.table not in paper.NAMES
    source = args.source or ("runs" if own else "paper")
    choice = Choice(rows=args.rows, columns=args.columns, lengths=args.lengths)
    if args.metric and not own:
        raise SpecError(f"--metric is of measurements and tasks, not of table {args.table}")
    if args.threshold is not None and (args.table != "ruler" or source == "paper"):
        raise SpecError("--threshold is of `rope-eval table ruler`: leave it out")
    if args.intervals and (source == "paper" or args.table == "1"):
        raise SpecError(
            "--intervals is of what was measured: not of --source paper, and of perplexity in "
            "`rope-eval table perplexity`"
        )
    if own and source != "paper":
        table = stored_table(
            open_store(args.results),
            args.table,
            args.metric,
            choice=choice,
            published=source == "both",
            intervals=args.intervals,
            threshold=args.threshold,
        )
    elif source == "paper":
        table = paper.chosen_table(args.table, choice)
    else:
        make = measured.table_of if source == "runs" else measured.both
        rows = rows_of(open_store(args.results))
        table = make(rows, args.table, args.protocol, choice, intervals=args.intervals)
    show(table, args.format)
    return 0
