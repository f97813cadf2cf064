"""``rope-eval path``: where the files are that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path

from rope_eval.paths import asset

EPILOG = """\
examples:
  lm_eval --model scaling_rope --tasks rope_paper --include_path $(rope-eval path tasks)
  opencompass --models scaling_rope_lab_base_1e4 --datasets rope_paper_leval \\
      --config-dir $(rope-eval path opencompass) --summarizer rope_eval
"""
FOLDERS = ("tasks", "opencompass", "models", "results", "plans")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "path",
        help="where this package's tasks, configurations and tables are",
        description="Print the folder of lm-eval's tasks, of OpenCompass's configurations, of the "
        "catalogue's model configurations, of the published tables, or of the plans that ship. The "
        "first two hold a file for each name and are written into the user's cache.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=FOLDERS, metavar="WHAT", help=", ".join(FOLDERS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the folder; return the exit status.

    Raises:
        DataError: for a catalogue that is not as documented.
        StoreError: where the user's cache cannot be written.
    """
    print(_folder(args.what))
    return 0


def _folder(what: str) -> Path:
    if what == "tasks":
        from rope_eval.hosts.lm_eval.task_files import task_folder

        return task_folder()
    if what == "opencompass":
        from rope_eval.hosts.opencompass.config_files import config_folder

        return config_folder()
    if what == "plans":
        from rope_eval.plans.plan import SHIPPED

        return SHIPPED
    return asset("model_configs" if what == "models" else what)
