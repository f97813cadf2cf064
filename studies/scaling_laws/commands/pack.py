"""``rope-eval lab pack``: what was measured, as a few tables to keep and to share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError
from studies.scaling_laws.commands.show import DEFAULT_TABLES

DEFAULT_STORE = Path("results", "lab-runs")

EXAMPLE = """\
examples:
  rope-eval lab pack                                    # results/lab-runs to results/lab
  rope-eval lab pack --preset gpu --store results/lab-gpu-runs --output results/lab-gpu

pandas.read_parquet reads the tables: lab-curve.parquet has a row for each document and length.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``pack``."""
    parser = subparsers.add_parser(
        "pack",
        help="write the measurements as a few compressed tables",
        description="Write the newest run of each measurement as Parquet tables, numbers bit for\n"
        "bit, which `rope-eval lab show` reads as it reads the runs.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--store",
        type=Path,
        default=DEFAULT_STORE,
        metavar="DIR",
        help="runs of the plan (default: results/lab-runs)",
    )
    add("--preset", default="lab", metavar="NAME", help="whose grid: lab or gpu (default: lab)")
    add(
        "--output",
        type=Path,
        default=DEFAULT_TABLES,
        metavar="DIR",
        help="tables of these names are replaced (default: results/lab)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the tables, if the runs are whole.

    Raises:
        SpecError: no such grid.
        DataError: the store holds no measurements of the grid, of different texts, or failed ones.
        StoreError: a run is damaged, or the output cannot be written.
    """
    from studies.scaling_laws.reading import read_laboratory
    from studies.scaling_laws.recipes.grids import find_grid
    from studies.scaling_laws.tables import open_measured, write_tables

    grid = find_grid(args.preset)
    measured = open_measured(args.store, grid)
    failed = read_laboratory(measured, grid, args.preset).failed
    if failed:
        raise DataError(
            f"{args.store} has failed measurements, and nothing was packed: {'; '.join(failed)}. "
            "Run the plan again with --retry-failed"
        )
    files = write_tables(args.output, measured)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(measured.runs)} runs are in {len(files)} tables in {args.output}: {size:,} bytes")
    return 0
