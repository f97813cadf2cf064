"""``rope-eval list``: the rows of the catalogue and which can run here, or the plans that ship."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from rope_eval.commands.options import add_shared
from rope_eval.errors import DataError
from rope_eval.safe_text import shown

EPILOG = """\
examples:
  rope-eval list models
  rope-eval list models --filter qwen3
  rope-eval list plans                     # names that `rope-eval run` takes
  rope-eval list models --checkpoint llama2-7b/base-500=/data/llama2-7b-base-500
  rope-eval ppl --config lab/base-20 --books builtin-chapters --lengths 128,256,512

Checkpoints of rows that were never released come from --checkpoint, or from lines of
`family/row: DIR` in checkpoints.yaml (in the current directory, or --checkpoints FILE).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "list",
        help="the catalogue of models, or the plans that ship",
        description="Print the rows of model_configs/: names that --config takes, and which of "
        "them can run on this machine now; or the names of plans that `rope-eval run` takes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="?", default="models", choices=("models", "plans"), help="(default: models)")
    add(
        "--filter",
        metavar="TEXT",
        help="only rows with this in their name, checkpoint, setting or source, or a pattern: *-7b",
    )
    add(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="the checkpoint of a row; may be given more than once",
    )
    add("--checkpoints", type=Path, metavar="FILE", help="(default: checkpoints.yaml, if any)")
    add_shared(parser, "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the catalogue; return the exit status.

    Raises:
        DataError: for a file that is not as documented, a checkpoint of an unknown row, or a filter
            that leaves no row.
        SpecError: for a --checkpoint that is not written NAME=DIR.
    """
    from tabulate import tabulate

    from rope_eval import catalogue
    from rope_eval.report.terminal import terminal_width

    if args.what == "plans":
        return _plans(as_json=args.json)
    checkpoints = catalogue.read_checkpoints(args.checkpoints, args.checkpoint)
    rows = list(catalogue.load(checkpoints=checkpoints).values())
    if args.filter is not None:
        rows = [row for row in rows if row.matches(args.filter)]
        if not rows:
            raise DataError(
                f"no row of the catalogue has {args.filter!r} in its name, checkpoint, setting or "
                "source: `rope-eval list models` shows them all"
            )
    obstacles = {row.name: row.obstacle() for row in rows}
    if args.json:
        facts = [
            {
                "name": row.name,
                "checkpoint": row.checkpoint,
                "rope": row.rope.to_dict(),
                "source": row.source,
                "paper": {table: list(place) for table, place in row.paper.items()},
                "can_run": obstacles[row.name] is None,
                "obstacle": obstacles[row.name],
            }
            for row in rows
        ]
        print(json.dumps(facts, indent=2))
        return 0
    lines = [
        (
            shown(row.name),
            "no" if obstacles[row.name] else "yes",
            ",".join(sorted(row.paper)),
            str(row.rope),
            shown(obstacles[row.name] or ""),
        )
        for row in rows
    ]
    header = ["name", "can run", "tables", "rope", "why not"]
    width = terminal_width()
    if width is not None:
        from rich import box, console, table, text

        grid = table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in header:
            grid.add_column(name, overflow="fold")
        for line in lines:
            grid.add_row(*map(text.Text, line))
        console.Console(width=width, highlight=False).print(grid)
        return 0
    print(tabulate(lines, headers=header, tablefmt="plain", disable_numparse=True))
    return 0


def _plans(*, as_json: bool) -> int:
    from rope_eval.plans.plan import shipped

    plans = shipped()
    if as_json:
        print(json.dumps([{"name": name, "about": about} for name, about in plans.items()]))
        return 0
    width = max(map(len, plans))
    for name, about in plans.items():
        indent = " " * (width + 2)
        print(textwrap.fill(f"{name:<{width}}  {about}", 100, subsequent_indent=indent))
    return 0
