"""``rope-eval context``: the measured max context of any run, against the bound of the laws."""

from __future__ import annotations

import argparse

from rope_eval.commands.options import Rate, add_choice, add_shared
from rope_eval.commands.showing import show
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length

EPILOG = """\
examples:
  rope-eval context                              # of every run of whole books in the store
  rope-eval context --margin 0.1 --rows "lab/*" --format csv
  rope-eval context --train-length 4k            # windows count from there on

It is read from the stored scores of tokens, so a run of `rope-eval ppl` or of a plan's `perplexity`
to several times the training length is all that it needs. Best beside a plan's `in_window` on the
same documents: then each token is compared with itself, in a context that training has shown.
Where no window is lost, the first lost window is "none", and the context is at least the longest
length measured.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "context",
        help="the measured max context of any run, against the bound",
        description="Say how long a context each run of whole books holds, by its local loss.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--margin",
        action=Rate,
        metavar="NATS",
        help="a token, above which a window is lost (default: 0.3)",
    )
    add("--train-length", metavar="N", help="from which windows count (default: each model's own)")
    add_choice(parser)
    add_shared(parser, "--results")
    add("--format", metavar="FORMAT", help="as of `rope-eval table`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; return the exit status.

    Raises:
        SpecError: for a row, books, length or format that makes no sense.
        DataError: where no run has a measured context.
        StoreError: the runs cannot be read; one that is damaged is named, and left out.
    """
    from rope_eval.local_loss import MARGIN
    from rope_eval.report.choice import Choice
    from rope_eval.report.held import context_table

    if args.lengths:
        raise SpecError("a measured context is of all lengths of a run: leave --lengths out")
    table = context_table(
        open_store(args.results),
        margin=args.margin or MARGIN,
        train_length=parse_length(args.train_length) if args.train_length else None,
        choice=Choice(rows=args.rows, columns=args.columns),
    )
    show(table, args.format)
    return 0
