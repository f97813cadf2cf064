"""The verbs of ``rope-eval lab``: one module a verb, each with add_parser and run."""

from __future__ import annotations

from collections.abc import Sequence

from rope_eval.commands.help import Parser
from studies.scaling_laws.commands import pack, show, text, train


def build_parser() -> Parser:
    """Return the parser of ``rope-eval lab`` and its verbs."""
    lab = Parser(
        prog="rope-eval lab",
        description="Train small models on a grid of bases and lengths, and show what the paper's\n"
        "laws say beside what was measured. `rope-eval run` measures, by the study's plan.",
        allow_abbrev=False,
    )
    verbs = lab.add_subparsers(dest="lab_command", metavar="VERB", required=True)
    for verb in (train, text, pack, show):
        verb.add_parser(verbs)
    return lab


def main(argv: Sequence[str]) -> int:
    """Run a verb; return its exit status.

    Raises:
        RopeEvalError: a mistake of the user, or a file that is damaged.
    """
    args = build_parser().parse_args(argv)
    status: int = args.run(args)
    return status
