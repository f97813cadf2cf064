"""``rope-eval list``: the rows of the catalogue."""

from __future__ import annotations

import argparse
import json
from typing import Any

EPILOG = """\
example:
  rope-eval list
  rope-eval ppl --config lab/base-20 --books builtin-chapters --lengths 128,256,512
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "list",
        help="the catalogue of models",
        description="Print the rows of model_configs/: names that --config takes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the catalogue; return the exit status."""
    from rope_eval import catalogue

    rows: list[dict[str, Any]] = [
        {"name": row.name, "checkpoint": row.checkpoint, "rope": row.rope.to_dict()}
        for row in catalogue.load().values()
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for spec in catalogue.load().values():
        print(f"{spec.name:<24}{spec.rope}")
    return 0
