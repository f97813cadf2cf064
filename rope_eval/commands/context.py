"""``rope-eval context``: the measured max context of runs and published curves, and the bound."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import Positive, Rate, add_choice, add_shared
from rope_eval.commands.showing import show
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length

if TYPE_CHECKING:
    from rope_eval.report.formats import Table

TRAINED = ("head_dim", "pretrain_theta", "tune_length", "rope_theta")
"""Options that say how the model of a curve was trained, beside --train-length."""

EPILOG = """\
examples:
  rope-eval context                          # of every run of whole books
  rope-eval context --margin 0.1 --rows "lab/*" --format csv
  rope-eval context --train-length 4k        # windows count from there on
  rope-eval context --curve proof-pile-128k  # models that others measured
  rope-eval context --curve mine.csv --head-dim 128 --pretrain-theta 10000 --train-length 4k

It is read from the stored scores of tokens, so a run of `rope-eval ppl` or of a plan's `perplexity`
to several times the training length is all that it needs. Best beside a plan's `in_window` on the
same documents: then each token is compared with itself, in a context that training has shown.
Where no window is lost, the first lost window is "none", and the context is at least the longest
length measured.

A curve is a CSV of perplexities: lengths in the first line, then a line a model, its name first.
The models of those that ship are known; how another was trained is said by the options.
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
    add("--curve", type=Path, metavar="FILE", help="a published table of perplexity by length")
    add("--steps", action=Positive, metavar="N", help="of a curve that a window has (default: 4)")
    add("--head-dim", action=Positive, metavar="D", help="of a curve's model: rotary dimension")
    add("--pretrain-theta", action=Rate, metavar="BASE", help="of a curve's model: base at first")
    add("--tune-length", metavar="N", help="of a curve's model: where it is not --train-length")
    add("--rope-theta", action=Rate, metavar="BASE", help="of a curve's model: base since")
    add_choice(parser)
    add_shared(parser, "--results")
    add("--format", metavar="FORMAT", help="as of `rope-eval table`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; return the exit status.

    Raises:
        SpecError: for a row, books, length or format that makes no sense, or an option of the one
            reading that is given to the other.
        DataError: where no run has a measured context, or the file is no table of curves.
        StoreError: the runs cannot be read; one that is damaged is named, and left out.
    """
    show(_of_runs(args) if args.curve is None else _of_curves(args), args.format)
    return 0


def _of_runs(args: argparse.Namespace) -> Table:
    from rope_eval.local_loss import MARGIN
    from rope_eval.report.choice import Choice
    from rope_eval.report.held import context_table

    _refuse(args, ("steps", *TRAINED), "is of --curve: a stored run says it itself")
    if args.lengths:
        raise SpecError("a measured context is of all lengths of a run: leave --lengths out")
    return context_table(
        open_store(args.results),
        margin=args.margin or MARGIN,
        train_length=parse_length(args.train_length) if args.train_length else None,
        choice=Choice(rows=args.rows, columns=args.columns),
    )


def _of_curves(args: argparse.Namespace) -> Table:
    from rope_eval.local_loss import MARGIN
    from rope_eval.report.published_curves.reading import STEPS
    from rope_eval.report.published_curves.table import published_curves_table

    _refuse(args, ("columns", "lengths", "results"), "has no meaning with --curve")
    given = {name: getattr(args, name) for name in (*TRAINED, "train_length")}
    for name in ("train_length", "tune_length"):
        given[name] = parse_length(given[name]) if given[name] else None
    return published_curves_table(
        args.curve,
        margin=args.margin or MARGIN,
        steps=args.steps or STEPS,
        rows=tuple(args.rows),
        given=given,
    )


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(args, name):
            raise SpecError(f"--{name.replace('_', '-')} {why}: leave it out")
