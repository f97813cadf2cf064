"""``rope-eval list``: the rows of the catalogue and which can run here, or the plans that ship."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rope_eval.commands.options import add_shared
from rope_eval.errors import DataError
from rope_eval.safe_text import shown
from rope_eval.terminal import terminal_width, wrapped

if TYPE_CHECKING:
    from rope_eval.catalogue import ModelSpec

EPILOG = """\
examples:
  rope-eval list models
  rope-eval list models --filter qwen3
  rope-eval list models --filter "lab/*" --long
  rope-eval list plans                    # names that `rope-eval run` takes
  rope-eval list models --checkpoint llama2-7b/base-500=/data/base-500

Commands take the checkpoints of rows that were never released from lines of
`family/row: DIR` in checkpoints.yaml in the current directory, or as --model DIR
beside --config. --checkpoint and --checkpoints FILE show here what they would serve.
"""
STATES = {
    "here": "can run now",
    "hub": "the first run downloads it",
    "yours": "never released: give your own, `NAME: DIR` in checkpoints.yaml",
    "broken": "cannot be read: --long says why",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "list",
        help="the catalogue of models, or the plans that ship",
        description="Print the rows of model_configs/: names that --config takes, and which of\n"
        "them can run on this machine now; or the plans that `rope-eval run` takes.",
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
    add("--long", action="store_true", help="say each row's setting, tables, source and obstacle")
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
    from rope_eval import catalogue

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
    show = _long if args.long else _short
    print(show([(row, obstacles[row.name]) for row in rows]))
    return 0


Rows = list[tuple["ModelSpec", str | None]]


def _short(rows: Rows) -> str:
    """Return the names, below their family and whether they can run."""
    states: dict[str, dict[str, list[str]]] = {}
    for row, obstacle in rows:
        family, _, name = row.name.partition("/")
        of = states.setdefault(family, {state: [] for state in STATES})
        of[_state(row, obstacle)].append(shown(name))
    blocks = []
    for family, of in states.items():
        lines = [f"{shown(family)}: {sum(map(len, of.values()))}"]
        lines += [_labelled(state, ", ".join(names)) for state, names in of.items() if names]
        blocks.append("\n".join(lines))
    there = {state for of in states.values() for state, names in of.items() if names}
    blocks.append(
        "\n".join(_labelled("", f"{s}: {what}", 0) for s, what in STATES.items() if s in there)
    )
    name = rows[0][0].name
    blocks.append(_labelled("", f"A row's name is FAMILY/NAME: --config {shown(name)}", indent=0))
    return "\n\n".join(blocks)


def _long(rows: Rows) -> str:
    """Return all that is known of each row."""
    blocks = []
    for row, obstacle in rows:
        facts = {
            "setting": str(row.rope),
            "model": row.checkpoint,
            "tables": ", ".join(sorted(row.paper)),
            "source": row.source,
            "can run": f"no: {obstacle}" if obstacle else "yes",
        }
        lines = [_labelled(label, shown(text)) for label, text in facts.items() if text]
        blocks.append("\n".join([shown(row.name), *lines]))
    return "\n\n".join(blocks)


def _state(row: ModelSpec, obstacle: str | None) -> str:
    if obstacle is None:
        return "here"
    if row.checkpoint is None:
        return "yours"
    return "broken" if row.absence else "hub"


def _labelled(label: str, text: str, indent: int = 2) -> str:
    """Return a text beside its label, in lines no wider than the terminal, or than 80."""
    before = f"{' ' * indent}{label:<9}" if label else ""
    return wrapped(before + text, terminal_width() or 80, " " * len(before), words_whole=True)


def _plans(*, as_json: bool) -> int:
    from rope_eval.plans.plan import shipped

    plans = shipped()
    if as_json:
        print(json.dumps([{"name": name, "about": about} for name, about in plans.items()]))
        return 0
    width = max(map(len, plans))
    for name, about in plans.items():
        indent = " " * (width + 2)
        print(wrapped(f"{name:<{width}}  {about}", terminal_width() or 80, indent))
    return 0
