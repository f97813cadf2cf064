"""``rope-eval lab``: the door to the study that lies beside the package in a checkout."""

from __future__ import annotations

import argparse
import importlib
import sys

from rope_eval.errors import DataError
from rope_eval.paths import checkout

STUDY = "studies.scaling_laws"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "lab",
        help="the paper's laws on small models: train, text, pack, show",
        add_help=False,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Run the study's own command line; return its exit status.

    Raises:
        DataError: the package was installed without the study.
        RopeEvalError: as the study says.
    """
    root = checkout()
    if root is None or not root.joinpath(*STUDY.split(".")).is_dir():
        raise DataError(
            "`rope-eval lab` is the study of the paper's laws, which lies in the repository and "
            "not in the installed package: clone it, and run this from the checkout"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    commands = importlib.import_module(f"{STUDY}.commands")
    status: int = commands.main(args.rest)
    return status
