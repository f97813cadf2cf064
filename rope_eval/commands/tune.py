"""``rope-eval tune``: tune any model under another RoPE setting, as the paper did."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_eval.commands.options import Positive, Rate, Seed, add_shared
from rope_eval.commands.progress import progress_bar, steps
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length
from rope_eval.terminal import remark

if TYPE_CHECKING:
    from rope_eval.tuning.recipe import Recipe

EXAMPLE = """\
examples:
  rope-eval tune --model DIR --text pile.jsonl.zst --rope-theta 500 --tune-length 16k
  rope-eval tune --preset paper-7b --rope-theta 1e6 --dry-run
  accelerate launch --config_file FILE -m rope_eval tune --preset paper-7b-16k \\
      --model DIR --text pile.jsonl.zst --rope-theta 500

Presets: paper-7b and paper-13b, each also with -16k and -pi (arXiv 2310.05209, B.1). What was
interrupted goes on where it was: the same command again finishes the work, and leaves a finished
checkpoint alone.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "tune",
        help="fine-tune a model under a setting, by the paper's recipe",
        description="Fine-tune any Hugging Face model under another RoPE setting by the recipe of\n"
        "arXiv 2310.05209, B.1, or what you change of it, and write it to OUTPUT/NAME.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add_shared(parser, "--model")
    add("--text", metavar="SRC", help="a folder of .txt, a .txt or .jsonl[.gz|.zst] file, …")
    add("--preset", metavar="NAME", help="(default: paper-7b, at the model's own length)")
    add("--rope-theta", type=float, metavar="β", help="the base to tune with")
    add("--tune-length", metavar="T", help="tokens of a window, such as 16k")
    add_shared(parser, "--rope", help="more RopeSpec fields, such as linear_factor=2")
    add("--steps", action=Positive, metavar="N", help="optimiser steps (default: 1000)")
    add(
        "--batch-size",
        action=Positive,
        metavar="N",
        help="windows a step (default: 524,288 tokens' worth, as in B.1)",
    )
    add("--learning-rate", action=Rate, metavar="LR", help="constant (default: 2e-5)")
    add(
        "--accumulation", action=Positive, metavar="N", default=1, help="passes a step (default: 1)"
    )
    add("--gradient-checkpointing", action="store_true", help="less memory, more time")
    add("--seed", action=Seed, metavar="N", help="of the windows' order (default: 0)")
    add("--output", type=Path, default=Path("tuned"), metavar="DIR", help="(default: tuned)")
    add("--force", action="store_true", help="replace a checkpoint that is there")
    add("--dry-run", action="store_true", help="print what would be done, as YAML, and stop")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tune and write the checkpoint, or print what that would be.

    Raises:
        SpecError: an option makes no sense, or another checkpoint is there without ``--force``.
        DataError: there is no model or no text of that name.
        LengthError: the text is too short.
        StoreError: the output folder cannot be made.
    """
    if args.preset is None and args.model is None:
        raise SpecError("give what to tune: --model DIR and --text SRC; or --preset to --dry-run")
    from rope_eval.tuning.presets import DEFAULT, tuning_recipe

    preset = args.preset or DEFAULT
    recipe = tuning_recipe(
        args.preset,
        model=args.model,
        fields=_fields(args),
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    if args.dry_run:
        from rope_eval.tuning.plan import tuning_plan

        print(tuning_plan(preset, recipe, args.text, accumulation=args.accumulation), end="")
        return 0
    if args.model is None or args.text is None:
        raise SpecError(
            f"the preset {preset} tunes a model on a text: give --model DIR and --text SRC, "
            "or --dry-run to see what it would do"
        )
    directory = args.output / recipe.name
    if directory.exists() and not args.force:
        return _left_alone(directory, recipe, args.text)
    from rope_eval.data.books import read_books

    next(read_books(args.text, limit=1, whole_pile=True))  # tells what is wrong before any work

    from rope_eval.tuning.checkpoint import make_folder
    from rope_eval.tuning.tune import tune

    make_folder(args.output)
    with progress_bar(recipe.name, recipe.steps) as report:
        tune(
            recipe,
            args.text,
            args.output,
            accumulation=args.accumulation,
            gradient_checkpointing=args.gradient_checkpointing,
            on_step=steps(report, recipe.name),
        )
    remark(f"Wrote {directory}{_how_to_run(recipe)}")
    return 0


def _left_alone(directory: Path, recipe: Recipe, text: str) -> int:
    """Say that a checkpoint is there, or raise `SpecError` where it is another."""
    from rope_eval.tuning.checkpoint import unlike

    other = unlike(directory, recipe, text)
    if other:
        raise SpecError(
            f"{directory} is there already, and {other}: nothing was written. Choose another "
            "--output, or replace it with --force."
        )
    remark(f"{directory} is there already, by this recipe: left alone{_how_to_run(recipe)}")
    return 0


def _how_to_run(recipe: Recipe) -> str:
    from rope_eval.tuning.config import unsaid

    rope = unsaid(recipe.rope)
    return "" if rope.is_neutral else f". Run it under: --rope {rope}"


def _fields(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the setting that were given, and no others."""
    from rope_eval.rope.fields import parse_fields

    fields: dict[str, Any] = dict(parse_fields(args.rope))
    options = {"rope_theta": args.rope_theta}
    if args.tune_length is not None:
        options["tune_length"] = parse_length(args.tune_length)
    for name, value in options.items():
        if value is not None and name in fields:
            raise SpecError(f"{name} is given twice: in --rope, and as --{name.replace('_', '-')}")
        if value is not None:
            fields[name] = value
    return fields
