"""``rope-eval lm-eval``: lm-eval's own command line with our model and tasks in reach."""

from __future__ import annotations

import argparse
import sys

EPILOG = """\
examples:
  rope-eval lm-eval --model scaling_rope --model_args pretrained=DIR,rope_theta=500 \\
      --tasks builtin_cumulative --metadata 'lengths=[4096,16384]'
  rope-eval lm-eval ls tasks

Every argument goes to lm_eval. Its --include_path is set to this package's tasks unless you give
one of your own.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "lm-eval",
        help="lm-eval's command line, with this package's tasks",
        description="Run lm_eval with --include_path set to this package's tasks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Hand over to lm_eval; its errors and exit status are its own, a user's mistake is ours."""
    words: list[str] = args.rest
    from lm_eval.__main__ import cli_evaluate

    from rope_eval.hosts.lm_eval.plugin import name_the_checkpoint, reach_tasks, register

    register()
    sys.argv = name_the_checkpoint(["lm_eval", *(reach_tasks(words) if words else words)])
    cli_evaluate()
    return 0
