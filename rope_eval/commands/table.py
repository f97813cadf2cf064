"""``rope-eval table``: the tables of the paper, as published and as measured, and any other."""

from __future__ import annotations

import argparse
import sys

from rope_eval.commands.options import add_shared
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError
from rope_eval.safe_text import shown_lines

EPILOG = """\
examples:
  rope-eval table 3 --source paper
  rope-eval table 3+4 --format csv > short_context.csv
  rope-eval table 5 --format latex
  rope-eval table 5 --source runs
  rope-eval table 3+4 --source both --protocol paper
  rope-eval table ruler
  rope-eval table "arc_*,piqa" --metric acc

Tables 3 and 4 are one table in two parts; 3+4 joins them. Source: arXiv 2310.05209.
Runs are those of `rope-eval ppl` (table 1) and `rope-eval import` (tables 3 to 5). A cell that was
not measured is blank, and the caption says why (with csv, standard error does).
perplexity, retrieval, ruler, tasks (all), or the names of tasks, make a table of whatever the store
has of them, by length where they have one, its numbers as recorded.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "table",
        help="the paper's tables, published and measured, as markdown, csv, json, latex or html",
        description="Print a table of the paper, with its numbers, with yours, or with both.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="1 to 5, 3+4, perplexity, retrieval, ruler, or tasks")
    add(
        "--source",
        choices=("paper", "runs", "both"),
        help="whose numbers: published, measured, or both and their difference (default: paper "
        "for its tables, runs for others)",
    )
    add("--metric", metavar="NAME", help="of tasks, the only one to show")
    add("--protocol", default="paper", help="of measured scores: paper, lm_eval or leval")
    add_shared(parser, "--results")
    add(
        "--format",
        default="markdown",
        metavar="FORMAT",
        help="markdown (default), csv, json, latex (booktabs, best in bold) or html",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; return the exit status.

    Raises:
        SpecError: there is no such table, protocol or format.
        DataError: the published numbers cannot be read, or nothing of the table was measured.
        StoreError: the runs cannot be read; one that is damaged is named, and left out.
    """
    from rope_eval.report import formats, measured
    from rope_eval.report import published as paper
    from rope_eval.report.runs import rows_of
    from rope_eval.report.stored import stored_table
    from rope_eval.report.terminal import fitted, terminal_width

    own = args.table not in paper.NAMES
    source = args.source or ("runs" if own else "paper")
    if args.metric and not own:
        raise SpecError(f"--metric is of tasks: table {args.table} has its columns")
    if source == "paper":
        table = paper.published(args.table)
    elif own and source == "runs":
        table = stored_table(open_store(args.results), args.table, args.metric)
    else:
        make = measured.table_of if source == "runs" else measured.both
        table = make(rows_of(open_store(args.results)), args.table, args.protocol)
    width = terminal_width() if args.format == "markdown" else None
    print(formats.render(table, args.format) if width is None else fitted(table, width))
    if source != "paper" and args.format == "csv":
        print(shown_lines(table.caption), file=sys.stderr)
    return 0
