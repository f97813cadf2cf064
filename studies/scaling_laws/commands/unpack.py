"""``rope-eval lab unpack``: the tables' measurements as runs, for `measure` to go on from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from studies.scaling_laws.commands.measure import DEFAULT_STORE
from studies.scaling_laws.commands.show import DEFAULT_TABLES

EXAMPLE = """\
examples:
  rope-eval lab unpack                                  # results/lab to results/lab-runs

After it `measure` makes nothing that the tables have, and `pack` writes them whole again.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``unpack``."""
    parser = subparsers.add_parser(
        "unpack",
        help="write the measurements of the tables back as runs",
        description="Write the runs that `rope-eval lab pack` made tables of back into a store,\n"
        "numbers bit for bit: more can then be measured without measuring those again.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--tables",
        type=Path,
        default=DEFAULT_TABLES,
        metavar="DIR",
        help="tables of `pack` (default: results/lab)",
    )
    add(
        "--store",
        type=Path,
        default=DEFAULT_STORE,
        metavar="DIR",
        help="runs that are there stand (default: results/lab-runs)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Put every run of the tables into the store.

    Raises:
        StoreError: a table is not there or damaged, or a run cannot be written.
    """
    from rope_eval.results.store import Store
    from studies.scaling_laws.tables import Tables

    tables, store = Tables(args.tables), Store(args.store)
    runs = list(tables.runs())
    for packed in runs:
        store.put(packed, tables.arrays(packed.key))
    print(f"{len(runs)} measurements of {args.tables} are in {args.store}")
    return 0
