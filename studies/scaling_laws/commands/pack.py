"""``rope-eval lab pack``: what was measured, as a few tables to keep and to share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rope_eval.errors import DataError
from studies.scaling_laws.commands.measure import DEFAULT_STORE
from studies.scaling_laws.commands.show import DEFAULT_TABLES

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
        help="runs of `measure` (default: results/lab-runs)",
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
    from studies.scaling_laws.reading import newest_runs, read_laboratory
    from studies.scaling_laws.recipes.grids import find_grid
    from studies.scaling_laws.tables import open_runs, write_tables

    find_grid(args.preset)
    source = open_runs(args.store)
    failed = read_laboratory(source, args.preset).failed
    if failed:
        raise DataError(
            f"{args.store} has failed measurements, and nothing was packed: {'; '.join(failed)}. "
            "Run `rope-eval lab measure` again"
        )
    runs = newest_runs(source, args.preset)
    files = write_tables(args.output, runs, source)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(runs)} measurements are in {len(files)} tables in {args.output}: {size:,} bytes")
    return 0
