"""``rope-eval table``: the tables of the paper."""

from __future__ import annotations

import argparse

EPILOG = """\
examples:
  rope-eval table 3 --source paper
  rope-eval table 3+4 --format csv > short_context.csv
  rope-eval table 5 --format latex

Tables 3 and 4 are one table in two parts; 3+4 joins them. Source: arXiv 2310.05209.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "table",
        help="the published tables, as markdown, csv, json, latex or html",
        description="Print a table of the paper.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="1, 2, 3, 4, 5, or 3+4")
    add("--source", default="paper", choices=("paper",), help="whose numbers (default: paper)")
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
        SpecError: there is no such table, or no such format.
        DataError: the published numbers cannot be read.
    """
    from rope_eval.report import formats, paper

    print(formats.render(paper.published(args.table), args.format))
    return 0
