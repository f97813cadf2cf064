"""``rope-eval path``: where the installed files of this package are."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  lm_eval --model scaling_rope --tasks rope_paper --include_path $(rope-eval path tasks)
  opencompass --models scaling_rope_lab_base_1e4 --datasets rope_paper_leval \\
      --config-dir $(rope-eval path opencompass) --summarizer rope_eval
"""
FOLDERS = {
    "tasks": ("tasks",),
    "opencompass": ("tasks", "opencompass"),
    "models": ("model_configs",),
    "results": ("results",),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "path",
        help="print where this package's tasks, model configurations and tables are",
        description="Print the folder of lm-eval's tasks, of OpenCompass's configurations, of the "
        "catalogue's model configurations, or of the published tables.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=FOLDERS, metavar="WHAT", help=", ".join(FOLDERS))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the folder; return the exit status."""
    from rope_eval.paths import asset

    folder, *below = FOLDERS[args.what]
    print(Path(asset(folder), *below))
    return 0
