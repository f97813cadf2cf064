"""``rope-eval lab``: the door to the study that lies beside the package in a checkout."""

from __future__ import annotations

import argparse
import runpy
import sys

from rope_eval.errors import DataError
from rope_eval.paths import checkout

STUDY = "scaling_laws"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "lab",
        help="the paper's laws, re-measured on small models: train, measure, show",
        add_help=False,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Run the study's own command line; return its exit status.

    Raises:
        DataError: where the package was installed without the study.
    """
    root = checkout()
    if root is None or not (root / "studies" / STUDY).is_dir():
        raise DataError(
            "`rope-eval lab` is the study of the paper's laws, which lies in the repository and "
            "not in the installed package: clone it, and run this from the checkout"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    sys.argv = ["rope-eval lab", *args.rest]
    try:
        runpy.run_module(f"studies.{STUDY}", run_name="__main__", alter_sys=False)
    except SystemExit as done:
        return int(done.code or 0) if not isinstance(done.code, str) else 1
    return 0
