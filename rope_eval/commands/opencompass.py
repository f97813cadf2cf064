"""``rope-eval opencompass``: OpenCompass's own command line with our models and data sets."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from rope_eval.commands.options import add_shared
from rope_eval.errors import SpecError

EPILOG = """\
examples:
  rope-eval opencompass --models scaling_rope_llama2_7b_base_500 --datasets rope_paper_leval
  rope-eval opencompass --models scaling_rope_lab_base_1e4 --datasets rope_paper --data-dir DIR
  rope-eval opencompass --models scaling_rope_lab_base_1e4 --datasets rope_builtin_cumulative \\
      --lengths 1024,4096
  rope-eval opencompass --models scaling_rope_llama2_7b_plain --datasets ARC_e_ppl_a450bd

Every other argument goes to opencompass: see `opencompass --help`. What it measured with our data
sets is brought into the store, for `rope-eval table` and `compare`; a task that failed makes the
exit status 1. OpenCompass needs an environment of its own: docs/opencompass.md.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "opencompass",
        help="OpenCompass's, with this package's models and data sets",
        description="Run opencompass with --config-dir and --summarizer set to this package's.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="a folder of data sets instead of the hub")
    add(
        "--truncation", metavar="SIDE", help="what long prompts lose: left (default), right, middle"
    )
    add_shared(
        parser,
        "--books",
        default=None,
        help="of the cumulative data sets, as for `rope-eval ppl`",
    )
    add("--lengths", metavar="N,N", help="of the cumulative data sets, in tokens")
    add_shared(parser, "--results")
    parser.set_defaults(run=run, passes_on=True)


def run(args: argparse.Namespace) -> int:
    """Hand over to opencompass; return its exit status, or 1 where a task failed.

    Raises:
        SpecError: where OpenCompass is not installed.
        RopeEvalError: for what its configurations do not find.
    """
    if find_spec("opencompass") is None:
        raise SpecError(
            "opencompass is not installed: in an environment of its own, "
            "pip install 'rope-eval[opencompass]'"
        )
    from rope_eval.hosts.opencompass import environment
    from rope_eval.hosts.opencompass.config_files import config_folder

    words: list[str] = args.rest
    given = {word.split("=")[0] for word in words}
    if "--config-dir" not in given:
        words = [*words, "--config-dir", str(config_folder())]
    if "--summarizer" not in given:
        words = [*words, "--summarizer", "rope_eval"]
    options = {
        environment.DATA_DIR: args.data_dir and str(args.data_dir.resolve()),
        environment.TRUNCATION: args.truncation,
        environment.BOOKS: args.books,
        environment.LENGTHS: args.lengths,
        environment.RESULTS: args.results and str(args.results),
    }

    from rope_eval.hosts.opencompass import cli as opencompass_cli

    return opencompass_cli.run(words, {k: v for k, v in options.items() if v is not None})
