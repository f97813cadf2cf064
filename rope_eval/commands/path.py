"""``rope-eval path``: where the files are that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path

from rope_eval.errors import SpecError, did_you_mean
from rope_eval.paths import asset

EPILOG = """\
examples:
  lm_eval --model scaling_rope --tasks rope_paper --include_path $(rope-eval path tasks)
  opencompass --models scaling_rope_lab_base_1e4 --datasets rope_paper_leval \\
      --config-dir $(rope-eval path opencompass) --summarizer rope_eval
  vllm serve $(rope-eval path lab/base-1e6)
"""
FOLDERS = ("tasks", "opencompass", "models", "results", "plans")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "path",
        help="where tasks, configurations, tables and a row's checkpoint are",
        description="Print the folder of lm-eval's tasks, of OpenCompass's configurations, of the "
        "catalogue's model configurations, of the published tables, or of the plans that ship; or "
        "the checkpoint of a row of the catalogue. The first two hold a file for each name and are "
        "written into the user's cache.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", metavar="WHAT", help=f"{', '.join(FOLDERS)}, or a row such as lab/base-1e6"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the folder; return the exit status.

    Raises:
        SpecError: for a word that is neither a folder nor a row.
        DataError: for a catalogue that is not as documented, or a row without a checkpoint.
        StoreError: where the user's cache cannot be written.
    """
    print(_folder(args.what))
    return 0


def _folder(what: str) -> Path | str:
    if "/" in what:
        from rope_eval import catalogue

        return catalogue.find(what).require_checkpoint()
    if what not in FOLDERS:
        raise SpecError(
            f"there is no folder {what!r}: choose one of {', '.join(FOLDERS)}, or a row of "
            f"`rope-eval list models`.{did_you_mean(what, FOLDERS)}"
        )
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
