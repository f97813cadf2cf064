"""``rope-eval lab text``: what the study's plans measure on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = """\
examples:
  rope-eval lab text                                    # lab/held-out.jsonl, lab/attention.jsonl
  rope-eval run studies/scaling_laws/plan-quick.yaml    # a first look at the repository's nine
  rope-eval run studies/scaling_laws/plan.yaml          # all that was trained into lab/
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``text``."""
    parser = subparsers.add_parser(
        "text",
        help="write the held-out text that the plan measures on",
        description="Write the pieces of text that no checkpoint of the grid is trained on, for\n"
        "the plans in studies/scaling_laws, which `rope-eval run` measures.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--preset", default="lab", metavar="NAME", help="whose grid: lab or gpu (default: lab)")
    add("--output", type=Path, default=Path("lab"), metavar="DIR", help="(default: lab)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the text.

    Raises:
        SpecError: no such grid.
        LengthError: there is too little text.
        StoreError: the folder cannot be written to.
    """
    from studies.scaling_laws.held_out import write_held_out
    from studies.scaling_laws.recipes.grids import find_grid

    files = write_held_out(find_grid(args.preset), args.output)
    print(f"the plans' text is in {' and '.join(map(str, files))}")
    return 0
