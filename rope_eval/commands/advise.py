"""``rope-eval advise``: what to do for a longer context, and a plan that checks it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import SETTING, add_shared
from rope_eval.errors import DataError, SpecError
from rope_eval.lengths import parse_length
from rope_eval.safe_text import shown

if TYPE_CHECKING:
    from rope_eval.rope.facts import Facts
    from rope_eval.setting import Setting

_LAWS = ("rope_theta", "pretrain_theta", "train_length", "tune_length")
_EPILOG = """\
examples:
  rope-eval advise --model DIR --target-length 128k
  rope-eval advise --model HuggingFaceTB/SmolLM2-135M --target-length 32k --tune-length 16k
  rope-eval advise --config lab/pretrained --target-length 1k --plan check.yaml
  rope-eval run check.yaml --dry-run

What the laws stand on is what is known of the model's family, or what its config says (a note
says which), or what --rope gives: --rope train_length=4096,pretrain_theta=10000. Sources: arXiv
2310.05209 for the extrapolation bound, arXiv 2405.14591 for the lower bound on the base.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "advise",
        help="for a longer context: the base, the tuning, a plan to check",
        description="Say what the laws ask for to give a model a longer context.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(parser, *SETTING)
    add = parser.add_argument
    add("--target-length", required=True, metavar="LENGTH", help="the context that is wanted")
    add("--tune-length", metavar="LENGTH", help="of a tuning (default: as it was trained so far)")
    add("--plan", type=Path, metavar="FILE", help="write a plan that checks it")
    add("--books", metavar="SRC", help="of the plan (default: builtin to 64k, else pg19)")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the advice, and write the plan; return the exit status.

    Raises:
        SpecError: where there is none to give, or for lengths that make no sense.
        DataError: the model cannot be read, or the plan's file is there already.
        StoreError: the plan cannot be written.
    """
    from rope_eval.advice.advice import advise
    from rope_eval.advice.plan_file import plan_text
    from rope_eval.advice.words import paragraphs
    from rope_eval.paths import write_whole
    from rope_eval.rope import laws
    from rope_eval.terminal import say

    if args.books and not args.plan:
        raise SpecError("--books is of the plan: give --plan FILE too")
    if args.plan and args.plan.exists():
        raise DataError(f"{args.plan} is there already: give another name, or remove it")
    setting = _setting(args)
    facts, where = _facts(setting)
    advice = advise(
        facts,
        parse_length(args.target_length),
        parse_length(args.tune_length) if args.tune_length else None,
    )
    notes = [f"{line} ({where})" for line in laws.lines(facts.laws.to_dict())]
    if args.plan:
        model = {"row": setting.row} if setting.row else {"model": setting.checkpoint}
        given = {} if setting.row else setting.rope.to_dict()
        write_whole(args.plan, plan_text(advice, model, given, args.books))
    if args.json:
        more = {"laws": facts.laws.to_dict(), "notes": notes}
        print(json.dumps(asdict(advice) | more, indent=2, allow_nan=False))
        return 0
    for paragraph in paragraphs(advice, setting.checkpoint):
        say(f"{paragraph}\n")
    for note in notes:
        say(f"note: {shown(note)}")
    if args.plan:
        print(f"{args.plan}: `rope-eval run {args.plan} --dry-run` says what it costs")
    return 0


def _setting(args: argparse.Namespace) -> Setting:
    """Return the checkpoint that is meant, and what is given of its training."""
    from rope_eval import catalogue
    from rope_eval.setting import resolve

    model, row = args.model, args.config
    if model is not None and row is None and not Path(model).exists():
        row = model if model in catalogue.load() else None
        model = None if row else model
    setting = resolve(model, row, args.rope)
    others = [name for name in setting.rope.to_dict() if name not in _LAWS]
    if others:
        raise SpecError(
            f"advice is of a checkpoint, and not of one under {', '.join(others)}: leave that out, "
            f"or give what it was trained with ({', '.join(_LAWS)})"
        )
    return setting


def _facts(setting: Setting) -> tuple[Facts, str]:
    from rope_eval.commands.configs import loaded_config, read_config
    from rope_eval.paths import is_directory
    from rope_eval.rope.facts import Facts

    name: Any = setting.checkpoint
    is_file = is_directory(name) or name.lower().endswith(".gguf")
    config = read_config(name) if is_file else loaded_config(name)
    if config.differs_by_layer:
        raise SpecError(
            f"there is no advice: {config.where} has RoPE parameters for each type of layer, and "
            "the laws are of one base. `rope-eval theory` takes a base and a head_dim of its own"
        )
    if config.rope_theta is None or config.head_dim is None:
        raise SpecError(
            f"there is no advice: {config.where} has no rope_theta and head_dim. Does the model "
            "rotate its queries and keys? `rope-eval theory` takes numbers without a model"
        )
    return Facts(setting.rope, config.geometry), config.where
