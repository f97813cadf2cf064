"""``rope-eval figure``: curves, maps and points of any runs, fit for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import Rate, add_choice, add_shared
from rope_eval.commands.store import open_store
from rope_eval.errors import SpecError, did_you_mean
from rope_eval.files import check_output
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.report.series import FigureData

EPILOG = """\
kinds:
  curves      a score by length, with each model's bound and training length
  bases       base by length, as a map
  methods     the settings of one model by length
  contexts    the measured max context against the bound
  retrieval   accuracy by length and depth, as a map
  attention   attention scores by relative position
  periods     the period of each pair of dimensions; of a model, without runs

examples:
  rope-eval figure curves -o curves.pdf --data curves.csv
  rope-eval figure curves --metric local-loss --rows 'lab/*' -o loss.svg
  rope-eval figure curves --metric accuracy --columns retrieval -o retrieval.png
  rope-eval figure bases --lengths 4k,8k,16k -o bases.pdf
  rope-eval figure periods --model DIR --rope yarn_factor=8 --rope ntk_alpha=8 -o periods.pdf

Runs are those of `rope-eval ppl`, of plans and of `rope-eval import`. What a run lacks is said on
standard error. docs/figures.md has a picture of each.
"""
FORMATS = (".png", ".svg", ".pdf")
PERIODS = "periods"
WIDEST = 40.0  # inches


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "figure",
        help="curves, bases, methods, contexts, retrieval, attention",
        description="Draw a figure of what the store holds, as PNG, SVG or PDF.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("kind", metavar="KIND", help="see below")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="to write: .png, .svg or .pdf",
    )
    add("--data", type=Path, metavar="FILE", help="also write what is drawn, as CSV")
    add(
        "--metric",
        metavar="NAME",
        help="of curves, bases and methods: perplexity (default), accuracy, local-loss, or another "
        "that was measured by length",
    )
    add_choice(parser)
    add("--width", action=Rate, default=6.5, metavar="INCHES", help="(default: 6.5)")
    add_shared(parser, "--results")
    add_shared(parser, "--model", "--config")
    add_shared(parser, "--rope", action="append", default=[])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the figure, and its data where that is asked for; return the exit status.

    Raises:
        SpecError: for a kind, row, metric or length that is not there, or a setting without sense.
        DataError: where nothing can be drawn, or a file cannot be written.
        StoreError: the runs cannot be read; one that is damaged is named, and left out.
    """
    from rope_eval.report.series import KINDS

    kinds = (*KINDS, PERIODS)
    if args.kind not in kinds:
        raise SpecError(
            f"there is no figure {args.kind!r}.{did_you_mean(args.kind, kinds)} There are "
            f"{', '.join(kinds)}"
        )
    if args.output.suffix not in FORMATS:
        raise SpecError(f"--output must end in {', '.join(FORMATS)}, got {args.output}")
    if args.width > WIDEST:
        raise SpecError(f"--width must be {WIDEST:g} inches or less, got {args.width:g}")
    for file in (args.output, *([args.data] if args.data else [])):
        check_output(file)
    data = _periods(args) if args.kind == PERIODS else _of_runs(args)

    from rope_eval.report.figures import style
    from rope_eval.report.figures.drawn import draw

    style.save(draw(data, width=args.width), args.output)
    if args.data:
        args.data.write_text(data.csv(), encoding="utf-8")
    for note in data.notes:
        remark(f"note: {note}")
    print(f"figure: {args.output}")
    return 0


def _of_runs(args: argparse.Namespace) -> FigureData:
    from rope_eval.report.series import figure_data

    for name, value in (("--model", args.model), ("--config", args.config), ("--rope", args.rope)):
        if value:
            raise SpecError(
                f"{name} is of {PERIODS}: choose runs with --rows, see `rope-eval list`"
            )
    return figure_data(
        args.kind,
        open_store(args.results),
        metric=args.metric,
        rows=args.rows,
        columns=args.columns,
        lengths=args.lengths,
    )


def _periods(args: argparse.Namespace) -> FigureData:
    from rope_eval.commands.configs import config_folder
    from rope_eval.report.series.periods import Asked, periods
    from rope_eval.setting import resolve

    for name in ("metric", "rows", "columns", "results"):
        if getattr(args, name):
            raise SpecError(f"--{name} is of runs: {PERIODS} are of a model, --model or --config")
    asked = {}
    for text in args.rope or [""]:
        setting = resolve(args.model, args.config, text)
        name = setting.row or Path(setting.checkpoint).resolve().name
        folder = config_folder(setting.checkpoint)
        for length in args.lengths or [None]:
            parts = (name, text, "" if length is None else f"{length} tokens")
            title = ", ".join(part for part in parts if part)
            asked[title] = Asked(model=folder, rope=setting.rope, length=length)
    return periods(asked)
