"""``rope-eval lab``: the paper's laws, measured on models that a laptop trains."""

from __future__ import annotations

import argparse
from typing import Any

from rope_eval.commands import lab_measure, lab_show, lab_train


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add ``lab`` and its verbs."""
    lab = subparsers.add_parser(
        "lab",
        help="the paper's laws, re-measured on small models: train, measure, show",
        description="Train small models on a grid of bases and lengths, measure them, and show\n"
        "what the paper's laws say beside what was measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = lab.add_subparsers(dest="lab_command", metavar="VERB", required=True)
    for verb in (lab_train, lab_measure, lab_show):
        verb.add_parser(verbs)
