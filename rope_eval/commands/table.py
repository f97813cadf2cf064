"""``rope-eval table``: the tables of the paper, as published and as measured."""

from __future__ import annotations

import argparse
import sys

from rope_eval.commands.options import add_shared
from rope_eval.commands.store import open_store
from rope_eval.safe_text import shown_lines

EPILOG = """\
examples:
  rope-eval table 3 --source paper
  rope-eval table 3+4 --format csv > short_context.csv
  rope-eval table 5 --format latex
  rope-eval table 5 --source runs
  rope-eval table 3+4 --source both --protocol paper

Tables 3 and 4 are one table in two parts; 3+4 joins them. Source: arXiv 2310.05209.
Runs are those of `rope-eval ppl` (table 1) and `rope-eval import` (tables 3 to 5). A cell that was
not measured is blank, and the caption says why (with csv, standard error does).
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
    add("table", metavar="TABLE", help="1, 2, 3, 4, 5, or 3+4")
    add(
        "--source",
        default="paper",
        choices=("paper", "runs", "both"),
        help="whose numbers: published, measured, or both and their difference (default: paper)",
    )
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

    if args.source == "paper":
        table = paper.published(args.table)
    else:
        make = measured.table_of if args.source == "runs" else measured.both
        table = make(rows_of(open_store(args.results)), args.table, args.protocol)
    print(formats.render(table, args.format))
    if args.source != "paper" and args.format == "csv":
        print(shown_lines(table.caption), file=sys.stderr)
    return 0
