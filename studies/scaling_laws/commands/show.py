"""``rope-eval lab show``: what was measured, beside what the paper says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DEFAULT_TABLES = Path("results", "lab")

EXAMPLE = """\
examples:
  rope-eval lab show                                    # of results/lab
  rope-eval lab show --store results/lab-quick --json
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``show``."""
    parser = subparsers.add_parser(
        "show",
        help="the findings of the paper beside what was measured, as tables and figures",
        description="Compute each finding from the measurements, print the verdicts, and write\n"
        "the figures, the tables (findings.md) and all numbers (findings.json).",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--store",
        type=Path,
        default=DEFAULT_TABLES,
        metavar="DIR",
        help="runs of the plan, or tables of `pack` (default: results/lab)",
    )
    add("--preset", default="lab", metavar="NAME", help="whose grid: lab or gpu (default: lab)")
    add("--output", type=Path, default=Path("laboratory"), metavar="DIR", help="(laboratory)")
    add("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute the findings, print their verdicts, and write tables and figures.

    Raises:
        SpecError: no such grid.
        DataError: the store holds no measurements of the grid, or of different texts.
        StoreError: a run is damaged, or the output cannot be written.
    """
    from studies.scaling_laws.document import find_all, summary_table, to_dict, write_findings
    from studies.scaling_laws.reading import read_laboratory
    from studies.scaling_laws.recipes.grids import find_grid
    from studies.scaling_laws.tables import open_measured

    grid = find_grid(args.preset)
    laboratory = read_laboratory(open_measured(args.store, grid), grid, args.preset)
    found = find_all(laboratory)
    files = write_findings(laboratory, args.output, found)
    if args.json:
        print(json.dumps(to_dict(laboratory, found), indent=2))
        return 0
    print(summary_table(found))
    print(f"\n{len(files)} files are in {args.output}: findings.md has the tables and figures")
    return 0
